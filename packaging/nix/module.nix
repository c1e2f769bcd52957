# SPDX-License-Identifier: MIT
self:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.chadthrottle;
  toml = pkgs.formats.toml { };
in
{
  options.services.chadthrottle = {
    enable = lib.mkEnableOption "ChadThrottle, limits of processes' network traffic";
    package = lib.mkOption {
      type = lib.types.package;
      default = self.packages.${pkgs.stdenv.hostPlatform.system}.default;
      description = "The package to use.";
    };
    rules = lib.mkOption {
      type = toml.type;
      default = { };
      example = {
        rule = [
          {
            name = "models";
            match = "unit:ollama.service";
            down = "5MB/s";
          }
        ];
      };
      description = ''
        Rules, as in docs/rules.md. They are read as an administrator's file, beside those that
        `chadthrottle rule add` writes to /etc/chadthrottle/rules.toml.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ];
    systemd.packages = [ cfg.package ];
    systemd.sockets.chadthrottle.wantedBy = [ "sockets.target" ];
    # Rules hold whenever an engine runs, so with the machine.
    systemd.services.chadthrottle.wantedBy = lib.mkIf (cfg.rules != { }) [ "multi-user.target" ];
    systemd.tmpfiles.packages = [ cfg.package ];
    users.groups.chadthrottle = { };
    environment.etc = lib.mkIf (cfg.rules != { }) {
      "chadthrottle/rules.d/nixos.toml".source = toml.generate "nixos.toml" cfg.rules;
    };
  };
}
