# WordPress, as the role of the same name has it. What needs packages happens in the image, what needs the database in the
# container; secrets are there only. The programs in files/ read the node themselves, so that no password is an attribute in
# Chef's log.

files = '/opt/dockerforge/archive/files'
program = ['sh', "#{files}/wordpress.sh"]

if ENV['DOCKERFORGE_PHASE'] == 'run'
  wordpress_told('blog') { command program + %w(database settings blog) }
else
  # Chef's own apt_update is content with lists that it could not fetch, and skips it where it was done today.
  execute('lists of packages') { command %w(apt-get -q update --error-on=any) }
  package %w(
    apache2 libapache2-mod-php php-cli php-curl php-gd php-mbstring php-mysql php-xml php-zip wordpress wordpress-l10n
    wordpress-theme-twentytwentyone wordpress-theme-twentytwentytwo wordpress-theme-twentytwentythree
  ) do
    options '--no-install-recommends'
  end

  {
    'apache.conf' => ['/etc/apache2/sites-available/000-default.conf', '0644'],
    'apache.sh' => ['/usr/local/sbin/dockerforge-apache', '0755'],
    'config-default.php' => ['/etc/wordpress/config-default.php', '0644'],
  }.each do |from, (to, its_mode)|
    file to do
      content(lazy { ::File.read("#{files}/#{from}") })
      mode its_mode
    end
  end

  # The log of other sites, of which there are none.
  link('/etc/apache2/conf-enabled/other-vhosts-access-log.conf') { action :delete }

  wordpress_told('settings') { command program + ['settings'] }
  execute('lists of packages, of no use in an image') do
    command 'rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log /var/cache/debconf/*-old'
  end
end
