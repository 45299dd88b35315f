# What fails comes after all others, because one of them changed something.

file('/srv/late') { notifies :run, 'ruby_block[later]' }
ruby_block 'later' do
  block { raise 'late one' }
  action :nothing
end
