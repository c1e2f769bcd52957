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
      defaultText = lib.literalMD "that of the flake";
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
        Rules, as in docs/rules.md. They are an administrator's file, /etc/chadthrottle/rules.d/nixos.toml, and come
        after those that `chadthrottle rule add` writes to /etc/chadthrottle/rules.toml. With any, the service starts
        with the machine, and else with the first command.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ];
    systemd.packages = [ cfg.package ];
    systemd.sockets.chadthrottle.wantedBy = [ "sockets.target" ];
    # Rules hold whenever an engine runs, so with the machine.
    systemd.services.chadthrottle = {
      wantedBy = lib.mkIf (cfg.rules != { }) [ "multi-user.target" ];
      # Limits hold across a restart, and end with a stop.
      stopIfChanged = false;
      reloadTriggers = lib.optional (
        cfg.rules != { }
      ) config.environment.etc."chadthrottle/rules.d/nixos.toml".source;
    };
    systemd.tmpfiles.packages = [ cfg.package ];
    users.groups.chadthrottle = { };
    environment.etc = lib.mkIf (cfg.rules != { }) {
      "chadthrottle/rules.d/nixos.toml" = {
        source = toml.generate "nixos.toml" cfg.rules;
        # A file and no link: rules are refused from a directory that a group may write, as that of the store is.
        mode = "0644";
      };
    };
  };
}
