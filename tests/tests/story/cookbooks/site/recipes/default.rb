# A site: what is not secret of it, and what is.

directory '/srv/site'
file('/srv/site/title') { content "#{node['site']['title']}\n" }
file('/srv/site/motto') { content "#{node['site']['motto'] || 'none'}\n" }
file '/srv/site/password' do
  content node['site']['password'].to_s
  mode '0600'
  sensitive true
end
