# Made of a file.
provides :site_shop
unified_mode true
action :open do
  file('/srv/site/shop') { content 'open' }
end
