# SPDX-License-Identifier: MIT
{ lib, rustPlatform }:
let
  manifest = lib.importTOML ../../Cargo.toml;
in
rustPlatform.buildRustPackage {
  pname = "chadthrottle";
  inherit (manifest.workspace.package) version;
  src = lib.cleanSource ../..;
  cargoLock.lockFile = ../../Cargo.lock;
  # The kernel programs are built already, and embedded: no LLVM and no nightly.
  cargoBuildFlags = [ "--package=chadthrottle" ];
  cargoTestFlags = [
    "--package=chadthrottle"
    "--package=chadthrottle-common"
  ];
  postInstall = ''
    patchShebangs packaging/stage.sh
    packaging/stage.sh "$out/bin/chadthrottle" "$TMPDIR/tree"
    cp -r "$TMPDIR/tree/usr/lib" "$TMPDIR/tree/usr/share" "$out/"
    substituteInPlace "$out/lib/systemd/system/chadthrottle.service" \
      --replace-fail /usr/bin/chadthrottle "$out/bin/chadthrottle"
  '';
  meta = {
    description = "Hold a process, and only it, to a download and an upload limit";
    license = [ lib.licenses.mit ];
    platforms = lib.platforms.linux;
    mainProgram = "chadthrottle";
  };
}
