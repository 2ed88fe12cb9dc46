# Runs events through the scripts of the pipelines: a request on each line of standard input, its document on each line of standard
# output, or what went wrong.
#
#   ruby run.rb PIPELINE-FOLDER '{"log_days": 14, …}'
#
#   {"line": BASE64, "way": "agent_files", "path": …, "metadata": {…}, "fields": …, "timestamp": …}  by bunyan.rb
#   {"document": TEXT, "metadata": {…}, "response": {…}}                                  refused by Elasticsearch: by dead_letter.rb

require_relative "logstash"

folder, parameters = ARGV
# As Logstash's filter has it: each script is an object's own methods.
def script(path, parameters)
  Object.new.tap do |made|
    made.instance_eval(File.read(path), path)
    made.register(parameters)
  end
end

# What the codecs plain and line make of bytes.
def text(bytes)
  text = bytes.dup.force_encoding(Encoding::UTF_8)
  text.valid_encoding? ? text : text.inspect[1..-2]
end

# logstash-output-elasticsearch 12.1.6, handle_dlq_response.
def reason(document, response)
  action = ["create", { _id: "id", _index: "index" }, document]
  "Could not index event to Elasticsearch. status: #{response.values.first['status']}, action: #{action}, response: #{response}"
end

mapping = script(File.join(folder, "bunyan.rb"), JSON.parse(parameters))
dead = script(File.join(folder, "dead_letter.rb"), {})
$stdout.sync = true
$stdin.each_line do |request|
  request = JSON.parse(request, max_nesting: false)
  metadata = request["metadata"] || {}
  if request.key?("line")
    data = { "message" => text(request["line"].unpack1("m")), "@metadata" => metadata.merge("way" => request["way"]) }
    data["log"] = { "file" => { "path" => request["path"] } } if request["path"]
    data["fields"] = request["fields"] if request["fields"]
    data["@timestamp"] = request["timestamp"] if request["timestamp"]
    made = mapping.filter(LogStash::Event.new(data))
  else
    document = LogStash::Json.load(request["document"])
    metadata = metadata.merge("dead_letter_queue" => { "reason" => reason(document, request["response"]) })
    made = dead.filter(LogStash::Event.new(document.merge("@metadata" => metadata)))
  end
  raise "not one event: #{made}" unless made.is_a?(Array) && made.length == 1 && made[0].is_a?(LogStash::Event)
  answer = made[0]
  # As text: a reader may not take every number that a document can hold.
  puts LogStash::Json.dump({ "metadata" => answer.metadata, "document" => answer.to_json })
rescue Exception => e
  puts LogStash::Json.dump({ "error" => "#{e.class}: #{e.message}", "at" => e.backtrace&.first.to_s })
end
