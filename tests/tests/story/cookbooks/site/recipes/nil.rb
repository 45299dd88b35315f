# Wrong already when it is read.

node['nope']['x']
