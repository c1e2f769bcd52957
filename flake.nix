# SPDX-License-Identifier: MIT
# Not run by the project's tests, which have no Nix.
#
#   nix run .#chadthrottle -- doctor
#   imports = [ chadthrottle.nixosModules.default ]; services.chadthrottle.enable = true;
{
  description = "Hold a process, and only it, to a download and an upload limit";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forEach = make: nixpkgs.lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});
    in
    {
      packages = forEach (pkgs: rec {
        chadthrottle = pkgs.callPackage ./packaging/nix/package.nix { };
        default = chadthrottle;
      });
      nixosModules.default = import ./packaging/nix/module.nix self;
    };
}
