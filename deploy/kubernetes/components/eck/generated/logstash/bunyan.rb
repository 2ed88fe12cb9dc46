# Makes one document of one line in [message], with the ECS name of a field where there is one and the agent's own otherwise.
#
# The document is built as one hash, and the event from it: setting the fields of an event one by one takes twice as long.
# [@metadata] says where it goes: `index`, `id`, and `dead`, the index for a document that Elasticsearch refuses; `raw` is the line.

require "digest"
require "securerandom"

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
  "error_stack" => %w[error stack_trace]
}.freeze

# All of these are error.message. The first that a line has gets that place, the others are kept in `extra`.
ERROR_MESSAGES = %w[error_message panic_message error].freeze
ERROR_MESSAGE = %w[error message].freeze

# These keep their names.
OWN = %w[
  request_id tenant_id tenant_tier endpoint
  query_preview query_length rule action stage cache_type cached passages
  model response_model failed_model finish_reason
  input_tokens output_tokens cache_read_tokens cache_write_tokens reasoning_tokens tokens cost_usd ttft_seconds duration_seconds usage_estimated
  answer_bytes
  budget_usd hard reason attempt wait_seconds rated_request_id rating status
  api admin provider log_policy faults actor as_of timeout_seconds panic_location log_target lines_lost events_lost
  boot_id seq outcome claimed_tenant_id
].to_h { |name| [name, true] }.freeze

LEVELS = {
  10 => "TRACE", 20 => "DEBUG", 30 => "INFO", 40 => "WARN", 50 => "ERROR", 60 => "ERROR",
  "TRACE" => "TRACE", "DEBUG" => "DEBUG", "INFO" => "INFO", "NOTICE" => "INFO", "WARN" => "WARN", "WARNING" => "WARN",
  "ERR" => "ERROR", "ERROR" => "ERROR", "CRIT" => "ERROR", "CRITICAL" => "ERROR", "ALERT" => "ERROR", "FATAL" => "ERROR",
  "EMERG" => "ERROR", "EMERGENCY" => "ERROR", "PANIC" => "ERROR"
}.freeze
LEVEL_NUMBER = /\A(\d{1,2})(?:\.0+)?\z/

# What tracing-bunyan-formatter puts before a message; the agent takes its own away.
SPAN = /\A\[(.+?) - (START|END|EVENT)\]\s*/m
SPAN_TYPES = { "START" => "start", "END" => "end", "EVENT" => "info" }.freeze

# The agent's files: an hour with many lines has further ones, `agent.2026-11-24-09.part2.ndjson`.
FILE_TIME = /\.(\d{4}-\d{2}-\d{2})(?:-(\d{2}))?(?:\.part\d+)?\.ndjson\z/

# Clocks that were never set say 1970 or 2000.
OLDEST = Time.utc(2020).to_i
DAY_SECONDS = 86_400

# Longer lines are cut and kept as text. Do not raise it: Elasticsearch counts a document as four times its size, against a
# tenth of its heap, and answers 429 for ever to one that is too large.
MAX_LINE_BYTES = 1_048_576
# Objects and lists within each other, the line itself being the first. Every part of Logstash that walks a document calls itself
# for each level (Valuefier, Jackson's serializers; Logstash 9.5.3), and a stack that overflows ends the process, as often as the
# queue replays the line. The kit's templates take 20 levels in `extra` and `context`, so this is far from what can be indexed.
MAX_DEPTH = 50
# Objects and lists of a line, and commas, of which it has about as many as values. A batch holds the documents of its lines, and an empty
# list, which is three bytes of a line, takes more than a hundred there: with 60 lines of a mebibyte of them in the queue, a heap of
# 512 MB ran out. The agent's own lines have fewer than a hundred of either; a vector of an embedding has up to 4,096 numbers.
BOUNDS = { "[{" => 1000, "," => 5000 }.freeze
# Text, up to the end of the line where its quote is missing. It never goes back, or a line of quotes would take hours.
TEXT = /"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\z)/m
# No time is longer. The patterns below take the square of what they look at.
MAX_TIME_CHARACTERS = 64
MAX_MESSAGE_CHARACTERS = 1000

# Half of a surrogate pair in JSON's notation. Logstash's parser encodes text up to such a half and drops the rest of it.
SURROGATE = /\\u[dD][89a-fA-F]/
ESCAPE = /\\(?:u[dD][89abAB]\h{2}\\u[dD][c-fC-F]\h{2}|u[dD][89a-fA-F]\h{2}|.)/m
LONE_SURROGATE_LENGTH = 6

# What says that a line is an audit event, where its file does not.
AUDIT_FIELDS = %w[actor action outcome].freeze

def register(params)
  @days = { "agent-logs" => days(params, "log_days"), "agent-audit" => days(params, "audit_days") }
  @senders = senders(params["audit_senders"].to_s)
  @set_aside = params["set_aside"].to_s
  # Nobody can write a line with it.
  @mark = SecureRandom.hex(16)
end

def filter(event)
  way = event.get("[@metadata][way]")
  sender = sender(event, way)
  raw = raw_line(event)
  path = event.get("[log][file][path]")
  path = nil unless path.is_a?(String)
  # Searched from its end: a pattern for the rest behind the last slash takes hours for a long path, which Beats may send.
  file = path ? path[((path.rindex(%r{[/\\]}) || -1) + 1)..] : ""
  line = parse(raw)

  claims = file.start_with?("audit.") || (line && AUDIT_FIELDS.all? { |name| line.key?(name) })
  audit = claims && (sender || way == "audit_files" || way == "agent_files")
  stream = audit ? "agent-audit" : "agent-logs"
  doc = {}
  doc["event"] = { "dataset" => audit ? "agent.audit" : "agent.app" }
  doc["event"]["provider"] = sender if audit && sender
  doc["log"] = { "file" => { "path" => path } } if path
  own_time = line ? map(line, doc) : keep(raw, doc)
  (doc["tags"] ||= []) << "_audit_sender_unknown" if claims && !audit
  named = file_time(file)
  time = doc["@timestamp"] = own_time || named || event.timestamp

  # Nothing but their files tells apart two lines that are the same and have no time.
  identity = own_time ? raw : raw + file
  id = Digest::SHA256.hexdigest(identity)
  if raw.bytesize > MAX_LINE_BYTES
    # The batch would hold it until it is written.
    event.remove("message")
    raw = doc["event"]["original"]
  end
  # Filebeat says itself when an event came.
  month = month([named, event.timestamp].find { |time| kept?(time, stream) } || LogStash::Timestamp.now)
  index = if !line then "#{stream}-unparsed-#{month}"
          elsif kept?(time, stream) then "#{stream}-#{day(time)}"
          else "#{stream}-outside-#{month}"
          end
  doc["@metadata"] = { "index" => index, "dead" => "#{stream}-dead-#{month}", "id" => id, "raw" => raw }
  made = LogStash::Event.new(doc)
  made.remove("@version")
  [made]
end

def days(params, name)
  days = Integer(params.fetch(name).to_s, 10)
  raise ArgumentError, "#{name} must be at least 1, not #{days}" if days < 1
  days
end

# Whether an index of that day is still there. Without a bound, lines of many days open an index each, until Elasticsearch
# refuses to open any more (cluster.max_shards_per_node).
def kept?(time, stream)
  return false unless time
  now = Time.now.to_i
  seconds = time.to_i
  seconds > now - (@days[stream] * DAY_SECONDS) && seconds < now + DAY_SECONDS
end

def day(time)
  time.to_iso8601[0, 10].tr("-", ".")
end

def month(time)
  time.to_iso8601[0, 7].tr("-", ".")
end

# Who may send audit events over the network: the digest of a key => the name of its sender. The file has `NAME KEY` on each line.
def senders(path)
  return {} if path.empty? || !File.file?(path)
  File.readlines(path, chomp: true).map(&:strip).reject { |line| line.empty? || line.start_with?("#") }.to_h do |line|
    name, key = line.split
    [Digest::SHA256.hexdigest(key), name]
  end
end

# The name that belongs to the key an event came with: over HTTP as `Audit-Key: KEY`, from Filebeat as [fields][audit_key].
# The header cannot be `Authorization`: the input takes that one away before it makes an event (logstash-input-http 4.1.13,
# MessageProcessor). No document can hold the key: [@metadata] is in none, and the field is removed.
def sender(event, way)
  key = case way
        when "http" then event.get("[@metadata][input][http][request][headers][audit_key]")
        else event.remove("[fields][audit_key]") if event.get("[fields]").is_a?(Hash)
        end
  return nil if way == "tcp" || !key.is_a?(String)
  @senders[Digest::SHA256.hexdigest(key)]
end

# The line as the input gave it, without the carriage return of Windows' line ends.
def raw_line(event)
  message = event.get("message")
  message.is_a?(String) ? message.chomp("\r") : event.to_json
end

def parse(raw)
  return nil if raw.bytesize > MAX_LINE_BYTES
  return nil if !@set_aside.empty? && raw.include?(@set_aside)
  object(raw)
end

# The object that a text holds; nothing where it holds anything else, more than one object, too many values, or is nested too deep.
#
# LogStash::Json.load takes several values in a row for JSON and gives the last (jrjackson 0.5.2, JrParse). Within a list that is an
# error, and a text that closes the list to begin another does not know the mark that the first begins with.
def object(text)
  text = text.delete_prefix("\uFEFF")
  return nil if many_values?(text)
  text = text.gsub(ESCAPE) { |escape| escape.length == LONE_SURROGATE_LENGTH ? "\\ufffd" : escape } if text.match?(SURROGATE)
  values = LogStash::Json.load("[\"#{@mark}\",#{text}]")
  return nil unless values.is_a?(Array) && values.length == 2 && values[0] == @mark
  values[1] if values[1].is_a?(Hash) && !deeper?(values[1], MAX_DEPTH)
rescue StandardError
  nil
end

# Before it is parsed, as what the parser makes of it is what takes the memory.
def many_values?(text)
  more = ->(signs) { BOUNDS.any? { |sign, most| signs.count(sign) > most } }
  more.call(text) && more.call(text.gsub(TEXT, ""))
end

def deeper?(value, levels)
  case value
  when Hash
    return true if levels.zero?
    value.each_value { |inner| return true if deeper?(inner, levels - 1) }
  when Array
    return true if levels.zero?
    value.each { |inner| return true if deeper?(inner, levels - 1) }
  end
  false
end

# Puts the fields of a line into the document, and returns its time if that is usable.
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
      when "v" then extra[name] = value unless value == 0
      else extra[name] = value
      end
    end
  end
  error_message(extra, doc)
  tags << "_time_missing" if line["time"].nil?
  tags << "_level_unknown" if line["level"].nil?
  doc["tags"] = tags unless tags.empty?
  # One field of the type `flattened`: it can be searched, never clashes with a name of ECS and never grows the mapping.
  doc["extra"] = extra unless extra.empty?
  time
end

def error_message(extra, doc)
  name = ERROR_MESSAGES.find { |name| extra.key?(name) && (name != "error" || extra[name].is_a?(String)) }
  put(doc, ERROR_MESSAGE, extra.delete(name)) if name
end

def put(doc, place, value)
  *parents, name = place
  parents.each { |parent| doc = (doc[parent] ||= {}) }
  doc[name] = value
end

def time_of(value, doc, tags)
  time = value.is_a?(String) && value.length <= MAX_TIME_CHARACTERS ? LogStash::Timestamp.new(iso8601(value)) : nil
  return time if time && time.to_i >= OLDEST && time.to_i < Time.now.to_i + DAY_SECONDS
  unusable_time(value, doc, tags)
rescue StandardError
  unusable_time(value, doc, tags)
end

# Blanks around a time, between its day and its hour, and before its zone are no part of it.
def iso8601(text)
  return text unless text.match?(/\s/)
  text.strip.sub(/\A(\d{4}-\d{2}-\d{2})\s+(?=\d)/, '\1T').sub(/\s+(?=(?:[A-Za-z]+|[+-]\d{2}:?\d{2})\z)/, "")
end

def unusable_time(value, doc, tags)
  tags << "_time_invalid"
  doc["event"]["original_time"] = value.is_a?(String) ? value : LogStash::Json.dump(value)
  nil
end

def level(value, doc, tags, extra)
  name = LEVELS[level_key(value)]
  if name
    put(doc, %w[log level], name)
  else
    tags << "_level_unknown"
    extra["level"] = value
  end
end

# A number may come as text, and with a fraction of nothing.
def level_key(value)
  case value
  when Integer then value
  # Not for any number: 1e999999999 as an integer has a billion digits.
  when Numeric then value.between?(0, 99) && value == value.to_i ? value.to_i : nil
  when String
    text = value.strip.upcase
    number = text[LEVEL_NUMBER, 1]
    number ? number.to_i : text
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
  value = (object(value) if value.start_with?("{")) || { "text" => value } if value.is_a?(String)
  value = { "text" => LogStash::Json.dump(value) } unless value.is_a?(Hash)
  doc["context"] = value unless value.empty?
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
