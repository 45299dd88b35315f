# Notes what changed and what failed, a JSON object a line, where converge.sh reads it.
require 'json'

class DockerforgeOutcome < Chef::Handler
  def report
    File.open(ENV.fetch('DOCKERFORGE_OUTCOME'), 'a') do |outcome|
      (run_status.updated_resources || []).each do |resource|
        outcome.puts JSON.generate(resource: resource.to_s, status: 'changed', detail: '')
      end
      if run_status.failed?
        detail = run_status.exception.class.name
        outcome.puts JSON.generate(resource: 'chef-solo', status: 'failed', detail: detail)
      end
    end
  end
end
