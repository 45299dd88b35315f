# Notes what changed and what failed, a JSON object a line, where converge.sh reads it: what Chef tells its subscribers of.
require 'json'
require 'chef/event_dispatch/base'
require 'chef/formatters/error_mapper'

class DockerforgeOutcome < Chef::EventDispatch::Base
  # Chef reads its settings twice, and is told once.
  def self.subscribe(handlers)
    handlers << new unless handlers.any?(self)
  end

  def initialize
    @open = []
    @done = []
    @changed = {}
    @failures = []
  end

  def resource_action_start(resource, *)
    @done = [] if @open.empty?
    @open.push(resource)
  end

  def resource_completed(*)
    @open.pop
  end

  # A text says what was done; a list is the lines that differ in a file, which may be anything.
  def resource_update_applied(_resource, _action, update)
    @done.concat(Array(update).grep(String).map { |text| utf8(text) })
  end

  # What a resource of a recipe is made of is told with it.
  def resource_updated(resource, *)
    (@changed[utf8(resource.to_s)] ||= []).concat(@done) if @open.length == 1
  end

  # It may be one whose failure is to be ignored: whether it ended the run is seen at its end.
  def resource_failed(resource, _action, error)
    @failures.push([utf8(resource.to_s), error]) if @open.length == 1
  end

  # The error itself says no more than that the (built-in) server refused.
  def cookbook_resolution_failed(run_list, error)
    sections = Chef::Formatters::ErrorMapper.cookbook_resolution_failed(run_list, error).for_json['sections']
    @unresolved = sections.first(1).flat_map(&:to_a).join(' ').split.join(' ')
  end

  def run_completed(*)
    tell_changes
  end

  def run_failed(error, *)
    tell_changes
    # Its text names what failed, and contains why.
    text = utf8(error.message)
    resource, cause = @failures.find { |name, one| text.include?("#{name} (") && text.include?(utf8(one.message)) }
    tell(resource || 'chef-solo', 'failed', @unresolved || words(cause || error) + (cause ? '' : place(error)))
  end

  private

  def tell_changes
    @changed.each { |resource, done| tell(resource, 'changed', done.uniq.join('; ')) }
  end

  def words(error)
    text = utf8(error.message)
    error.instance_of?(RuntimeError) ? text : "#{error.class}: #{text}"
  end

  # What programs print may be in any encoding or none, and texts of two are not put together.
  def utf8(text)
    text.dup.force_encoding(Encoding::UTF_8).scrub
  end

  # Where in a cookbook it came about: Ruby's own words say nothing of it.
  def place(error)
    at = Array(error.backtrace).map { |line| line[%r{/cookbooks/(\S+?:\d+)}, 1] }.compact.first
    at ? " (at #{at})" : ''
  end

  # A line is bounded, and what a program said last stands at the end.
  def tell(resource, status, detail)
    line = { resource: readable(resource, 200), status: status, detail: readable(detail, 800) }
    File.open(ENV.fetch('DOCKERFORGE_OUTCOME'), 'a') { |outcome| outcome.puts JSON.generate(line) }
  end

  def readable(text, most)
    text = text.strip
    text.length > most ? "#{text[0, most / 4]} … #{text[-(most * 3 / 4)..]}" : text
  end
end
