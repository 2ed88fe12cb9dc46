# One line in [message] -> one document, with the ECS name of a field where there is one and the agent's own otherwise.
#
# The document is made as one hash, and the event from it: setting the fields of an event one by one takes twice as long.
# Where it goes stands in @metadata: `index` (without the day) and `id`; `raw` is the line, should Elasticsearch refuse it.

require "digest"

# Name in the line => place in the document.
ECS = {
  "name" => %w[service name],
  "service_version" => %w[service version],
  "hostname" => %w[host name],
  "pid" => %w[process pid],
  "target" => %w[log logger],
  "file" => %w[log origin file name],
  "line" => %w[log origin file line],
  "trace_id" => %w[trace id],
  "span_id" => %w[span id],
  "server_address" => %w[server address],
  "error_type" => %w[error type],
  "error_message" => %w[error message],
  "panic_message" => %w[error message],
  "error_stack" => %w[error stack_trace]
}.freeze

# These keep their names.
OWN = %w[
  request_id tenant_id tenant_tier endpoint
  query_preview query_length rule action stage cache_type cached passages
  model input_tokens output_tokens tokens cost_usd ttft_seconds duration_seconds usage_estimated
  answer_bytes
  budget_usd hard reason attempt wait_seconds rated_request_id rating status
  api admin provider log_policy faults actor as_of timeout_seconds panic_location log_target lines_lost events_lost
  boot_id seq outcome claimed_tenant_id
].to_h { |name| [name, true] }.freeze

LEVELS = {
  10 => "TRACE", 20 => "DEBUG", 30 => "INFO", 40 => "WARN", 50 => "ERROR", 60 => "ERROR",
  "TRACE" => "TRACE", "DEBUG" => "DEBUG", "INFO" => "INFO", "WARN" => "WARN", "WARNING" => "WARN",
  "ERROR" => "ERROR", "FATAL" => "ERROR"
}.freeze

# What tracing-bunyan-formatter puts before a message; the agent takes its own away.
SPAN = /\A\[(.+?) - (START|END|EVENT)\]\s*/m
SPAN_TYPES = { "START" => "start", "END" => "end", "EVENT" => "info" }.freeze

FILE_TIME = /\.(\d{4}-\d{2}-\d{2})(?:-(\d{2}))?\.ndjson\z/

# A clock gone mad would open an index for a day that never was.
OLDEST = Time.utc(2020).to_i
AHEAD_SECONDS = 86_400

# Longer lines are not parsed, and cut. Not to be raised: Elasticsearch reckons a document at four times its size against a
# tenth of its heap, and one that is too big it sends back for ever.
MAX_LINE_BYTES = 1_048_576
MAX_MESSAGE_CHARACTERS = 1000

def register(_params)
end

def filter(event)
  raw = raw_line(event)
  path = event.get("[log][file][path]")
  path = nil unless path.is_a?(String)
  file = path ? path[%r{[^/\\]*\z}] : ""
  line = parse(raw)

  audit = file.start_with?("audit.") || (line && line.key?("actor") && line.key?("action") && line.key?("outcome"))
  doc = {}
  doc["event"] = { "dataset" => audit ? "agent.audit" : "agent.app" }
  doc["log"] = { "file" => { "path" => path } } if path
  own_time = line ? map(line, doc) : keep(raw, doc)
  doc["@timestamp"] ||= own_time || file_time(file) || event.timestamp

  index = audit ? "agent-audit" : "agent-logs"
  index += "-unparsed" unless line
  # Nothing tells apart the same line without a time in two files, except the files.
  identity = own_time ? raw : raw + file
  id = Digest::SHA256.hexdigest(identity)
  if raw.bytesize > MAX_LINE_BYTES
    # The batch would hold it until it is written.
    event.remove("message")
    raw = doc["event"]["original"]
  end
  doc["@metadata"] = { "index" => index, "id" => id, "raw" => raw }
  made = LogStash::Event.new(doc)
  made.remove("@version")
  [made]
end

# Whatever an input hands over as the line; Windows' line end is none of it.
def raw_line(event)
  message = event.get("message")
  message.is_a?(String) ? message.chomp("\r") : event.to_json
end

def parse(raw)
  return nil if raw.bytesize > MAX_LINE_BYTES
  line = LogStash::Json.load(raw)
  line.is_a?(Hash) ? line : nil
rescue StandardError
  nil
end

# Puts the fields of a line into the document, and gives back its time if it has a usable one.
def map(line, doc)
  tags, extra = [], {}
  time = nil
  line.each do |name, value|
    next if value.nil?
    if OWN.key?(name)
      doc[name] = value
    elsif (place = ECS[name])
      put(doc, place, value)
    else
      case name
      when "time" then time = time_of(value, doc, tags)
      when "level" then level(value, doc, tags, extra)
      when "msg" then message(value, doc)
      when "context" then context(value, doc)
      when "error" then value.is_a?(String) && !line["error_message"] ? put(doc, ECS["error_message"], value) : extra[name] = value
      when "v" then extra[name] = value unless value == 0
      else extra[name] = value
      end
    end
  end
  tags << "_time_missing" if line["time"].nil?
  tags << "_level_unknown" if line["level"].nil?
  doc["tags"] = tags unless tags.empty?
  # One field of the type `flattened`: it can be searched, never clashes with a name of ECS and never grows the mapping.
  doc["extra"] = extra unless extra.empty?
  time
end

def put(doc, place, value)
  *parents, name = place
  parents.each { |parent| doc = (doc[parent] ||= {}) }
  doc[name] = value
end

def time_of(value, doc, tags)
  time = value.is_a?(String) ? LogStash::Timestamp.new(value) : nil
  return time if time && time.to_i >= OLDEST && time.to_i < Time.now.to_i + AHEAD_SECONDS
  unusable_time(value, doc, tags)
rescue StandardError
  unusable_time(value, doc, tags)
end

def unusable_time(value, doc, tags)
  tags << "_time_invalid"
  doc["event"]["original_time"] = value.is_a?(String) ? value : LogStash::Json.dump(value)
  nil
end

def level(value, doc, tags, extra)
  name = LEVELS[value.is_a?(String) ? value.upcase : value]
  if name
    put(doc, %w[log level], name)
  else
    tags << "_level_unknown"
    extra["level"] = value
  end
end

def message(value, doc)
  text = value.is_a?(String) ? value : LogStash::Json.dump(value)
  if text.start_with?("[") && (span = SPAN.match(text))
    put(doc, %w[span name], span[1])
    doc["event"]["type"] = SPAN_TYPES[span[2]]
    text = span.post_match unless span.post_match.empty?
  end
  doc["message"] = text
end

# `flattened` takes an object and nothing else.
def context(value, doc)
  value = object_in(value) || { "text" => value } if value.is_a?(String)
  value = { "text" => LogStash::Json.dump(value) } unless value.is_a?(Hash)
  doc["context"] = value unless value.empty?
end

def object_in(text)
  return nil unless text.start_with?("{")
  value = LogStash::Json.load(text)
  value.is_a?(Hash) ? value : nil
rescue StandardError
  nil
end

# What is no JSON object is kept as it is.
def keep(raw, doc)
  long = raw.bytesize > MAX_LINE_BYTES
  doc["tags"] = long ? %w[_unparsed _line_too_long] : %w[_unparsed]
  doc["message"] = raw[0, MAX_MESSAGE_CHARACTERS]
  doc["event"]["kind"] = "pipeline_error"
  doc["event"]["original"] = long ? raw.byteslice(0, MAX_LINE_BYTES).scrub("") : raw
  doc["event"]["original_bytes"] = raw.bytesize
  nil
end

# A line without a time takes its file's hour, so that a second reading is the same document in the same index.
def file_time(file)
  found = FILE_TIME.match(file)
  found && LogStash::Timestamp.new("#{found[1]}T#{found[2] || '00'}:00:00Z")
rescue StandardError
  nil
end
