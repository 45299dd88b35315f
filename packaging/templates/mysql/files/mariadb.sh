#!/bin/sh
# Starts MariaDB as the container's first process: it gets the signals itself, and ends in order when asked to.
set -eu
DATA=/var/lib/mysql
install -d -o mysql -g mysql -m 0755 /run/mysqld "$DATA"
if ! [ -d "$DATA/mysql" ]; then
  # Nothing here: the image filled no volume (a folder of the host, memory). Made aside and moved at the end, the folder that
  # was looked at last, so that a start that is cut off begins anew and does not go on with half of a server.
  new=$DATA/.dockerforge-new
  rm -rf -- "$new"
  install -d -o mysql -g mysql -m 0700 "$new"
  mariadb-install-db --user=mysql --datadir="$new" --auth-root-authentication-method=socket --auth-root-socket-user=root \
    --skip-test-db >/dev/null
  find "$new" -mindepth 1 -maxdepth 1 ! -name mysql -exec mv -f -t "$DATA" -- {} +
  mv -- "$new/mysql" "$DATA/mysql"
  rm -rf -- "$new"
fi
exec mariadbd --user=mysql
