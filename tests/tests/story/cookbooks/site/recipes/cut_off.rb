# RFC 2606: nobody is called so.

remote_file '/srv/x' do
  source 'http://nobody.invalid/x'
  retries 0
end
