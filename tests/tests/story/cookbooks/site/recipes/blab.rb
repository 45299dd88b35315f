# Says the password in the ways in which one comes to say it.

require 'shellwords'
password = node['site']['password'].to_s
puts "it is #{password}"
puts "it is #{password.inspect}, and #{JSON.generate(password)}"
file('/srv/site/config') { content "password=#{password}\n" }
execute("echo #{Shellwords.escape(password)} >/dev/null") { live_stream true }
file('/srv/site/config-again') do
  path '/srv/site/config'
  content "nothing\n"
end
file("/srv/site/none/#{password}") { ignore_failure true }
{}.fetch(password) if node['site']['title'] == 'fail'
