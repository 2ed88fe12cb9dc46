# One document that Elasticsearch refused -> one that it takes: the line as text, why it was refused, and the ids by which
# its request is found.

require "digest"

MAX_REASON_CHARACTERS = 2000
# Kept where they are text, as Elasticsearch may have refused the document for one of them.
KEPT = { %w[event dataset] => "[event][dataset]", %w[log file path] => "[log][file][path]",
         %w[trace id] => "[trace][id]", %w[request_id] => "[request_id]" }.freeze

def register(_params)
end

def filter(event)
  reason = event.get("[@metadata][dead_letter_queue][reason]").to_s
  # It begins with the whole document; what was wrong with it is at the end, as Ruby writes a hash.
  answer = reason[/, response: (.*)\z/m, 1] || reason
  cause = answer[/"reason"\s*=>\s*"((?:[^"\\]|\\.)*)"/m, 1]&.gsub(/\\(.)/m, '\1') || answer
  raw = event.get("[@metadata][raw]") || event.to_json
  index = event.get("[@metadata][index]").to_s[/\Aagent-(logs|audit)/] || "agent-logs"

  doc = {
    "@timestamp" => event.timestamp,
    "message" => cause[0, MAX_REASON_CHARACTERS],
    "error" => { "type" => answer[/"type"\s*=>\s*"(\w+)"/, 1] || "unknown" },
    "event" => { "kind" => "pipeline_error", "original" => raw, "original_bytes" => raw.bytesize }
  }
  KEPT.each do |place, reference|
    value = event.get(reference)
    next unless value.is_a?(String)
    *parents, name = place
    parents.inject(doc) { |at, parent| at[parent] ||= {} }[name] = value
  end
  id = event.get("[@metadata][id]") || Digest::SHA256.hexdigest(raw)
  doc["@metadata"] = { "index" => "#{index}-dead", "id" => id }
  made = LogStash::Event.new(doc)
  made.remove("@version")
  [made]
end
