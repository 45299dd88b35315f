# A program that makes something so, and tells on its standard output what was not so before: a line a thing. Chef counts the
# resource as changed where there is such a line. One that fails has told why on its error output.
provides :mysql_told
unified_mode true

property :command, Array, required: true

action :run do
  done = shell_out(*new_resource.command)
  done.stdout.each_line(chomp: true) { |what| converge_by(what) {} }
  raise done.stderr.empty? ? "exit code #{done.exitstatus}" : done.stderr if done.error?
end
