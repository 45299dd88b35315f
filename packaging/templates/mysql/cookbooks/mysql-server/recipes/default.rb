# MariaDB, as the role of the same name has it. What needs packages happens in the image, what needs the server in the
# container; secrets are there only. files/mysql.py reads the node itself, so that no password is an attribute in Chef's log.

files = '/opt/dockerforge/archive/files'
program = ['python3', "#{files}/mysql.py"]

if ENV['DOCKERFORGE_PHASE'] == 'run'
  mysql_told('settings and accounts') { command program + %w(settings accounts) }
else
  # Chef's own apt_update is content with lists that it could not fetch, and skips it where it was done today.
  execute('lists of packages') { command %w(apt-get -q update --error-on=any) }
  # Before the server comes, which makes its first files by the settings; and Python, which lays them.
  package('python3-pymysql') { options '--no-install-recommends' }
  mysql_told('settings') { command program + ['settings'] }
  package('mariadb-server') { options '--no-install-recommends' }

  file '/usr/local/sbin/dockerforge-mariadb' do
    content(lazy { ::File.read("#{files}/mariadb.sh") })
    mode '0755'
  end

  execute('lists of packages, of no use in an image') do
    command 'rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log /var/cache/debconf/*-old'
  end
end
