#!/bin/sh
# Lets the PHP programs beside this read the node, one after the other as they are named: database, settings, blog. The first
# that fails is the last. A line on standard output for each thing that changed. The node is root's alone, so it is handed over.
set -eu
here=$(cd -- "$(dirname -- "$0")" && pwd -P)
for part in "$@"; do
  case $part in
    settings) php -d display_errors=stderr "$here/settings.php" <"$DOCKERFORGE_NODE" ;;
    # As the web server, like everything else that WordPress does.
    database | blog) runuser -u www-data -- php -d display_errors=stderr "$here/$part.php" <"$DOCKERFORGE_NODE" ;;
    *)
      echo "usage: wordpress.sh [database] [settings] [blog]" >&2
      exit 64
      ;;
  esac
done
