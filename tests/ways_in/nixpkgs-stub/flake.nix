# As much of nixpkgs as flake.nix asks for, of derivations that are never built: it lets the flake be evaluated offline.
# An attribute that flake.nix misspells, or that nixpkgs is not known to have, is missing here and fails the evaluation.
{
  outputs =
    _:
    let
      lib = {
        genAttrs =
          names: make:
          builtins.listToAttrs (
            map (name: {
              inherit name;
              value = make name;
            }) names
          );
        concatStrings = builtins.concatStringsSep "";
        getExe = package: "${package}/bin/${package.name}";
        makeLibraryPath = packages: builtins.concatStringsSep ":" (map (package: "${package}/lib") packages);
        mapAttrsToList = make: set: map (name: make name set.${name}) (builtins.attrNames set);
        optionalAttrs = wanted: set: if wanted then set else { };
      };
      packagesOf =
        system:
        let
          package =
            name: more:
            derivation (
              {
                inherit name system;
                builder = "/bin/sh";
              }
              // more
            );
          plain = name: {
            inherit name;
            value = package name { };
          };
        in
        builtins.listToAttrs (
          map plain [
            "apacheKafka"
            "coreutils"
            "erlang"
            "git"
            "gnumake"
            "go"
            "nixfmt"
            "python313"
            "rabbitmq-server"
            "uv"
            "zlib"
          ]
        )
        // {
          prometheus = package "prometheus" { } // {
            cli = package "promtool" { };
          };
          stdenv = {
            isLinux = builtins.match ".*-linux" system != null;
            cc.cc.lib = package "libstdcxx" { };
          };
          mkShell = package "shell";
          runCommand = name: more: script: package name (more // { inherit script; });
          writeShellApplication = { name, runtimeInputs, text }: package name { inherit runtimeInputs text; };
        };
    in
    {
      inherit lib;
      legacyPackages = lib.genAttrs [
        "x86_64-linux"
        "aarch64-linux"
        "x86_64-darwin"
        "aarch64-darwin"
      ] packagesOf;
    };
}
