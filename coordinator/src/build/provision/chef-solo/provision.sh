#!/bin/sh
# One converge of Chef without a server. The node is given whole each time: nothing is kept of one that was before.
set -eu
export CHEF_LICENSE=accept-no-persist HOME="${HOME:-/root}"
exec chef-solo -c "$DOCKERFORGE_HOME/solo.rb" -j "$DOCKERFORGE_NODE" --no-color -l info --force-formatter
