#!/bin/sh
# One converge of Chef without a server. The node is given whole each time: nothing is kept of one that was before.
set -eu
# Who chose a base image with Chef in it has accepted its licence. Nobody is here who could be asked, and no image is to say so.
export CHEF_LICENSE=accept-no-persist HOME="${HOME:-/root}"
# What a resource had in hand may stand in these: copies of files that it changed, and how an error came about.
sweep() { rm -rf -- "$DOCKERFORGE_HOME/chef-backup" /var/cache/dockerforge-chef/chef-stacktrace.out; }
sweep
code=0
chef-solo -c "$DOCKERFORGE_HOME/solo.rb" -j "$DOCKERFORGE_NODE" --no-color -l warn --force-formatter </dev/null || code=$?
sweep
exit "$code"
