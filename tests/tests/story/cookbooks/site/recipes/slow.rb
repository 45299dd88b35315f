# Ends when it is ended.

puts 'begins'
ruby_block('slow') { block { sleep 4321 } }
