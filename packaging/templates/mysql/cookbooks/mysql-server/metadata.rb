name 'mysql-server'
version '0.1.0'
chef_version '>= 15.3'
supports 'debian'
