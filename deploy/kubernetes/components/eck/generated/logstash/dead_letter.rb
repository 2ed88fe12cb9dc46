# Makes one document that Elasticsearch takes of one that it refused: the line as text, why it was refused, and the ids by which
# its request is found.

require "digest"

MAX_REASON_CHARACTERS = 2000
# Kept where they are text, as Elasticsearch may have refused the document for one of them.
KEPT = { %w[event dataset] => "[event][dataset]", %w[event provider] => "[event][provider]", %w[log file path] => "[log][file][path]",
         %w[trace id] => "[trace][id]", %w[request_id] => "[request_id]" }.freeze

# The output writes the answer behind the document, as Ruby shows a hash (logstash-output-elasticsearch 12.1.6,
# handle_dlq_response). Quotes within a text are escaped there, so that no line can look like the answer.
ANSWER = /, response: (\{"create"\s*=>\s*\{.*)\z/m
TOKEN = /"(?:[^"\\]|\\.)*"|=>|\bnil\b/m
ESCAPED = /\\(?:u\{(\h+)\}|u(\h{4})|(.))/m
CONTROL = { "n" => "\n", "t" => "\t", "r" => "\r", "e" => "\e", "b" => "\b", "f" => "\f" }.freeze
MAX_CAUSES = 10

def register(_params)
end

def filter(event)
  reason = event.get("[@metadata][dead_letter_queue][reason]").to_s
  error = error(reason)
  raw = event.get("[@metadata][raw]") || event.to_json
  index = event.get("[@metadata][dead]")

  doc = {
    "@timestamp" => event.timestamp,
    "message" => (error ? causes(error) : reason)[0, MAX_REASON_CHARACTERS],
    "error" => { "type" => (error || {}).fetch("type", "unknown") },
    "event" => { "kind" => "pipeline_error", "original" => raw, "original_bytes" => raw.bytesize }
  }
  KEPT.each do |place, reference|
    value = event.get(reference)
    next unless value.is_a?(String)
    *parents, name = place
    parents.inject(doc) { |at, parent| at[parent] ||= {} }[name] = value
  end
  id = event.get("[@metadata][id]") || Digest::SHA256.hexdigest(raw)
  # What was queued by an older version of bunyan.rb says no index for it.
  index ||= "#{event.get('[@metadata][index]').to_s[/\Aagent-(?:logs|audit)/] || 'agent-logs'}-dead-#{LogStash::Timestamp.now.to_iso8601[0, 7].tr('-', '.')}"
  doc["@metadata"] = { "index" => index, "id" => id }
  made = LogStash::Event.new(doc)
  made.remove("@version")
  [made]
end

# The `error` of Elasticsearch's answer; nothing where there is none.
def error(reason)
  answer = reason[ANSWER, 1]&.gsub(TOKEN) do |token|
    case token
    when "=>" then ":"
    when "nil" then "null"
    else LogStash::Json.dump([plain(token[1..-2])])[1..-2]
    end
  end
  found = LogStash::Json.load(answer)["create"]["error"] if answer
  found if found.is_a?(Hash)
rescue StandardError
  nil
end

# The reason of the error and those of all `caused_by` within it: the outermost often says only that a field could not be read.
def causes(error)
  reasons = []
  while error.is_a?(Hash) && reasons.length < MAX_CAUSES
    reasons << error["reason"].to_s
    error = error["caused_by"]
  end
  reasons.reject(&:empty?).uniq.join(", caused by: ")
end

def plain(text)
  text.gsub(ESCAPED) { $1 || $2 ? ($1 || $2).hex.chr(Encoding::UTF_8) : CONTROL.fetch($3, $3) }
end
