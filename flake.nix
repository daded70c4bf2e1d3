{
  description = "One campus food order flow over REST, RabbitMQ and Kafka, and a lab that measures the difference";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
        "x86_64-darwin"
        "aarch64-darwin"
      ];
      eachSystem = make: lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});

      # What lab/native/programs.py looks for on PATH, so that it has nothing to install.
      # Where nixpkgs has no Jaeger, the lab builds its own with Go.
      programs =
        pkgs:
        [
          pkgs.rabbitmq-server
          pkgs.erlang
          pkgs.apacheKafka
          pkgs.prometheus
          pkgs.prometheus.cli
          pkgs.uv
          pkgs.python313
          pkgs.gnumake
          pkgs.git
        ]
        ++ (if pkgs ? jaeger then [ pkgs.jaeger ] else [ pkgs.go ]);

      # uv takes this Python and no other; wheels find the C++ library that they expect of a Linux distribution.
      environment =
        pkgs:
        {
          UV_PYTHON = "${pkgs.python313}/bin/python3";
          UV_PYTHON_DOWNLOADS = "never";
        }
        // lib.optionalAttrs pkgs.stdenv.isLinux {
          LD_LIBRARY_PATH = lib.makeLibraryPath [
            pkgs.stdenv.cc.cc.lib
            pkgs.zlib
          ];
        };
    in
    {
      devShells = eachSystem (pkgs: {
        default = pkgs.mkShell (
          environment pkgs
          // {
            packages = programs pkgs;
            shellHook = ''
              export LAB_RUNTIME="''${LAB_RUNTIME:-native}"
            '';
          }
        );
      });

      apps = eachSystem (pkgs: rec {
        default = demo;
        demo = {
          type = "app";
          program = lib.getExe (
            pkgs.writeShellApplication {
              name = "campus-food-demo";
              runtimeInputs = programs pkgs ++ [ pkgs.coreutils ];
              # Started outside a checkout, it works in a copy: uv and the lab write beside their sources.
              text = ''
                ${lib.concatStrings (lib.mapAttrsToList (name: value: "export ${name}=${value}\n") (environment pkgs))}
                export LAB_RUNTIME="''${LAB_RUNTIME:-native}"
                if [ ! -f lab/stack.toml ]; then
                  copy=''${XDG_CACHE_HOME:-$HOME/.cache}/campus-food-lab/checkout-${self.shortRev or "dirty"}
                  mkdir -p "$copy"
                  cp -rT --update=none ${self} "$copy"
                  chmod -R u+w "$copy"
                  cd "$copy"
                fi
                exec make demo
              '';
            }
          );
        };
      });

      checks = eachSystem (pkgs: {
        # The native runtime finds every program of the shell by PATH alone.
        programs = pkgs.runCommand "lab-finds-its-programs" { nativeBuildInputs = programs pkgs; } ''
          cd ${self}
          export XDG_CACHE_HOME=$TMPDIR LAB_TRACES=${if pkgs ? jaeger then "on" else "off"}
          missing=$(python3 -B -c 'from lab.native import programs; print(*programs.missing())')
          if [ -n "$missing" ]; then
            echo "not found on PATH: $missing" >&2
            exit 1
          fi
          promtool --version >$out
        '';
      });

      formatter = eachSystem (pkgs: pkgs.nixfmt);
    };
}
