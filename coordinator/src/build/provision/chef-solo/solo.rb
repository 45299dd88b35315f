# Chef's configuration for one converge.
home = ENV.fetch('DOCKERFORGE_HOME')
work = ENV.fetch('DOCKERFORGE_WORK')
archive = File.join(home, 'archive')
cookbooks = File.join(archive, 'cookbooks')
chef_repo_path archive
cookbook_path [File.directory?(cookbooks) ? cookbooks : archive]
# Apart from the cookbooks: Chef deletes what it does not need below its cache.
file_cache_path '/var/cache/dockerforge-chef'
# Copies of files that it changes: old secrets may stand in them. They go with the run (provision.sh).
file_backup_path File.join(home, 'chef-backup')
# Attributes of a node are kept there from one run to the next, and passwords with them: in memory, and gone with the run.
node_path File.join(work, 'nodes')
chef_guid_path File.join(work, 'chef_guid')
# It asks the hardware who it is, and says that it failed where it is a container's.
ohai.disabled_plugins = [:ShardSeed]
require File.join(home, 'outcome.rb')
DockerforgeOutcome.subscribe(event_handlers)
