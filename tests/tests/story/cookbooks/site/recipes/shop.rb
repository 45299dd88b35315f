# A resource that is made of another, and tells a third.

site_shop('open') { notifies :run, 'execute[told]' }
execute 'told' do
  command %w(touch /srv/site/told)
  action :nothing
end
