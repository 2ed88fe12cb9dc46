# The classes of Logstash that the pipelines' scripts use, for a JRuby without a Logstash. They do no more than the originals
# (Logstash 9.5.3 with jrjackson 0.5.2), and what ends a Logstash is an error here.

require "bigdecimal"
require "json"
require "java"
require "jruby"

module LogStash
  module Json
    ParserError = Class.new(StandardError)
    FACTORY = com.fasterxml.jackson.core.JsonFactory.new

    # As JrParse does it: with several values in a row the last one is the result, and with nothing it is nil.
    def self.load(text)
      parser = FACTORY.create_parser(text.to_java_bytes)
      result, open, names = nil, [], []
      while (token = parser.next_token)
        case token.to_s
        when "FIELD_NAME" then names[-1] = unicode(parser.current_name)
        when "START_OBJECT" then open << {} and names << nil
        when "START_ARRAY" then open << [] and names << nil
        else
          value = case token.to_s
                  when "END_OBJECT", "END_ARRAY"
                    names.pop
                    open.pop
                  else scalar(parser, token.to_s)
                  end
          case (at = open.last)
          when Hash then at[names.last] = value
          when Array then at << value
          else result = value
          end
        end
      end
      result
    rescue java.io.IOException => e
      raise ParserError, e.message
    end

    def self.scalar(parser, token)
      case token
      when "VALUE_STRING" then unicode(parser.text)
      when "VALUE_NUMBER_INT" then parser.big_integer_value.to_s.to_i
      when "VALUE_NUMBER_FLOAT" then BigDecimal(parser.decimal_value.to_s)
      when "VALUE_TRUE" then true
      when "VALUE_FALSE" then false
      end
    end

    # The very function that jrjackson calls: it encodes up to the first lone surrogate, and drops the rest.
    def self.unicode(text)
      org.jruby.RubyString.new_unicode_string(JRuby.runtime, java.nio.CharBuffer.wrap(text.to_java(:string)))
    end

    def self.dump(value)
      case value
      when Hash then "{#{value.map { |name, inner| "#{name.to_s.to_json}:#{dump(inner)}" }.join(',')}}"
      when Array then "[#{value.map { |inner| dump(inner) }.join(',')}]"
      when BigDecimal then value.to_java(java.math.BigDecimal).to_s
      when Timestamp then value.to_iso8601.to_json
      else value.to_json
      end
    end
  end

  class Timestamp
    include Comparable
    Field = java.time.temporal.ChronoField
    # As forgiving as the original (Timestamp.java).
    LENIENT = java.time.format.DateTimeFormatterBuilder.new.parse_case_insensitive
                  .append(java.time.format.DateTimeFormatter::ISO_LOCAL_DATE)
                  .optional_start.append_literal("T").append(java.time.format.DateTimeFormatter::ISO_LOCAL_TIME).optional_end
                  .optional_start.append_zone_or_offset_id.optional_end
                  .optional_start.append_offset("+HHmmss", "Z").optional_end
                  .parse_defaulting(Field::HOUR_OF_DAY, 0).parse_defaulting(Field::MINUTE_OF_HOUR, 0)
                  .parse_defaulting(Field::SECOND_OF_MINUTE, 0).parse_defaulting(Field::NANO_OF_SECOND, 0)
                  .to_formatter.with_zone(java.time.ZoneOffset::UTC)
    MILLIS = java.time.format.DateTimeFormatterBuilder.new.append_instant(3).to_formatter
    attr_reader :instant

    def initialize(text = nil)
      @instant = text ? java.time.Instant.from(LENIENT.parse(text)) : java.time.Instant.now
    rescue java.time.DateTimeException => e
      raise ArgumentError, e.message
    end

    def self.now = new

    def to_i = @instant.epoch_second

    def to_iso8601 = (@instant.nano.zero? ? MILLIS : java.time.format.DateTimeFormatter::ISO_INSTANT).format(@instant)

    def <=>(other) = @instant.compare_to(other.instant)
  end

  class Event
    # The original overflows its stack somewhere beyond, which ends the process.
    LEVELS = 250

    def initialize(data)
      @data = Event.converted(data, LEVELS)
      @metadata = @data.delete("@metadata") || {}
      @data["@version"] ||= "1"
      time = @data["@timestamp"]
      @data["@timestamp"] = time.is_a?(String) ? Timestamp.new(time) : time || Timestamp.now
      tags = @data["tags"]
      return if tags.nil? || tags.is_a?(String) || (tags.is_a?(Array) && tags.all?(String))
      raise ArgumentError, "the original takes no tags but strings: #{tags}"
    end

    def self.converted(value, levels)
      raise SystemStackError, "stack level too deep" if levels.zero?
      case value
      when Hash then value.to_h { |name, inner| [name.to_s, converted(inner, levels - 1)] }
      when Array then value.map { |inner| converted(inner, levels - 1) }
      when String, Numeric, Timestamp, true, false, nil then value
      else raise TypeError, "the original knows no #{value.class}"
      end
    end

    def get(reference)
      place(reference).inject(self) { |at, name| at.equal?(self) ? root(name) : (at[name] if at.is_a?(Hash)) }
    end

    def remove(reference)
      *parents, last = place(reference)
      at = parents.inject(@data) { |inner, name| inner[name] if inner.is_a?(Hash) }
      at.delete(last) if at.is_a?(Hash)
    end

    def timestamp = @data["@timestamp"]

    def to_json(*) = Json.dump(@data)

    def metadata = @metadata

    private

    def place(reference) = reference.start_with?("[") ? reference.scan(/\[([^\[\]]+)\]/).flatten : [reference]

    def root(name) = name == "@metadata" ? @metadata : @data[name]
  end
end
