/** How every process logs: one JSON line per event on stderr, readable on a terminal. Never payloads or keys. */
import { isatty } from 'node:tty'
import { type DestinationStream, destination, type Logger, pino } from 'pino'

import { traceFields } from './tracing.ts'

export type { Logger }

const severities: Readonly<Record<string, string>> = {
  trace: 'DEBUG',
  debug: 'DEBUG',
  info: 'INFO',
  warn: 'WARNING',
  error: 'ERROR',
  fatal: 'CRITICAL',
}

export interface LoggingSettings {
  /** Readable lines on a terminal; what others collect is JSON in any case. */
  development: boolean
  logLevel: string
}

/**
 * Lines have `severity`, `time` (RFC 3339) and `message`, as the predecessor's had. The destination is written
 * asynchronously and flushed at exit, so that no request waits for a log.
 */
export function makeLogger(
  settings: LoggingSettings,
  to: DestinationStream = destination({ dest: 2, sync: false, minLength: 4096, periodicFlush: 250 }),
  isTerminal = isatty(2),
): Logger {
  return pino(
    {
      level: settings.logLevel,
      base: null,
      mixin: traceFields,
      messageKey: 'message',
      errorKey: 'error',
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ severity: severities[label] ?? 'INFO' }) },
    },
    settings.development && isTerminal ? { write: (line) => to.write(readable(line)) } : to,
  )
}

/** What moves a terminal's cursor, ends a line or hides text becomes visible: `\u{a}`. */
export function escaped(text: string): string {
  return text.replace(
    /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`,
  )
}

/** `12:00:00.000 INFO listening url=http://…`; an error's stack goes on lines of its own, none of which begins like a log line. */
function readable(line: string): string {
  const { severity, time, message, error, ...rest } = JSON.parse(line) as Record<string, unknown>
  const facts = Object.entries(rest).map(
    ([key, value]) => ` ${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  )
  const stack =
    typeof error === 'object' && error !== null && 'stack' in error ? String(error.stack).split('\n') : []
  const text = [`${message ?? ''}${facts.join('')}`, ...stack].map(escaped).join('\n  ')
  return `${String(time).slice(11, 23)} ${severity} ${text}\n`
}
