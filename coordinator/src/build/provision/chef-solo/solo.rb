# Chef's configuration for one converge.
archive = '/opt/dockerforge/archive'
cookbooks = File.join(archive, 'cookbooks')
cookbook_path [File.directory?(cookbooks) ? cookbooks : archive]
role_path File.join(archive, 'roles')
# Apart from the cookbooks: Chef deletes what it does not need below its cache.
file_cache_path '/var/cache/dockerforge-chef'
# Attributes of a node are kept there from one run to the next, and passwords with them: in memory, and gone with the run.
node_path File.join(ENV.fetch('DOCKERFORGE_WORK'), 'nodes')
require File.join('/opt/dockerforge', 'outcome.rb')
handler = DockerforgeOutcome.new
report_handlers << handler
exception_handlers << handler
