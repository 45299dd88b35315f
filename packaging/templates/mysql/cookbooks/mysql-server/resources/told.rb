# A program that makes something so, and tells on its standard output what was not so before: a line a thing. Chef counts the
# resource as changed where there is such a line.
provides :mysql_told
unified_mode true

property :command, Array, required: true

action :run do
  done = shell_out!(*new_resource.command)
  done.stdout.each_line(chomp: true) { |what| converge_by(what) {} }
end
