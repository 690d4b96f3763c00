/** What a validation found, as text for people: progress, attempts, latency, gates, the reason of a failure. */
import type { AttemptView, BlessingView, ValidationDetailView } from '../contracts/validation-client.ts'
import type { AttemptRecord, ProbeResults, Timings } from '../contracts/validation-record.ts'
import type { ValidationView } from '../contracts/validation-wire.ts'

const phaseWords: Record<ValidationView['progress']['phase'], string> = {
  pending: 'waits for a worker',
  preparing: 'checks the spec and digests the model',
  pulling: 'resolves the image',
  starting: 'starts the server',
  scheduled: 'waits until the server runs',
  loading: 'waits until the model is ready',
  requests: 'sends the sample requests',
  golden: 'compares the golden answers',
  load: 'measures under load',
  memory: 'judges the memory',
  collecting: 'collects logs',
  stopping: 'stops the server',
  waiting: 'waits before the next attempt',
  concluding: 'writes the verdict',
  ended: 'has ended',
}

/** One line, without the time. */
export function progressText({ progress }: ValidationView): string {
  const { phase, binary, attempt, done, of, detail } = progress
  const where = attempt === undefined ? '' : `attempt ${attempt}${binary ? ` of binary ${binary}` : ''}: `
  const count = done === undefined || of === undefined ? '' : ` ${done}/${of}`
  return `${where}${phaseWords[phase]}${count}${detail ? ` (${detail})` : ''}`
}

export function reportText(validation: ValidationDetailView, blessing: BlessingView | undefined): string {
  const parts = [verdictText(validation, blessing)]
  for (const [index, { kind, image, attempts }] of (blessing?.binaries ?? []).entries()) {
    parts.push(`\n${image ?? kind}`)
    parts.push(...attempts.map(attemptText))
    parts.push(...resultsText(blessing?.results[index] ?? {}))
    const last = attempts.at(-1)
    if (last?.outcome === 'failed' && last.logsTail) parts.push(indented('last output:', last.logsTail))
  }
  for (const warning of blessing?.warnings ?? []) parts.push(`warning: ${warning}`)
  return parts.join('\n')
}

function verdictText(
  { id, verdict, error, modelName }: ValidationDetailView,
  blessing: BlessingView | undefined,
): string {
  const why = error === null ? '' : `\n  ${error.class}: ${error.message}`
  const until = verdict === 'BLESSED' && blessing ? ` until ${blessing.expiresAt}` : ''
  const record = blessing ? `\n  blessing ${blessing.id}` : ''
  const digest = blessing?.model.digest ? `\n  model ${blessing.model.digest}` : ''
  return `${verdict}  ${modelName}${until}${why}\n  validation ${id}${record}${digest}`
}

function attemptText({ n, outcome, errorClass, message, timings, ...rest }: AttemptRecord): string {
  const why = errorClass === undefined ? '' : `\n    ${errorClass}: ${message ?? ''}`
  return `  attempt ${n} ${outcome}  ${timingsText(timings)}${memoryText(rest)}${why}`
}

const timingNames = {
  startMs: 'start',
  scheduleMs: 'running after',
  loadMs: 'ready after',
  queryMs: 'probes',
  stopMs: 'stop',
} as const satisfies Partial<Record<keyof Timings, string>>

function timingsText(timings: Timings): string {
  return Object.entries(timingNames)
    .flatMap(([key, name]) => {
      const ms = timings[key as keyof Timings]
      return ms === undefined ? [] : [`${name} ${secondsText(ms)}`]
    })
    .join(', ')
}

function memoryText({ peakMemoryBytes }: Pick<AttemptView, 'peakMemoryBytes'>): string {
  if (peakMemoryBytes === undefined || peakMemoryBytes === null) return ''
  return `, peak ${(peakMemoryBytes / 1024 / 1024).toFixed(0)} MiB`
}

function resultsText({ requests, golden, load, gates }: ProbeResults): string[] {
  const lines: string[] = []
  if (requests) lines.push(`  sample requests: ${requests.ok} of ${requests.sent} good`)
  for (const { id, message } of requests?.failed ?? []) lines.push(`    ${id}: ${message}`)
  if (golden)
    lines.push(
      `  golden answers: ${golden.filter(({ pass }) => pass).length} of ${golden.length} as expected`,
    )
  for (const { id, pass, message } of golden ?? []) if (!pass) lines.push(`    ${id}: ${message}`)
  if (load?.length) {
    const rows = load.map(({ concurrency, n, errors, p50, p90, p95, p99, max, rps }) => [
      String(concurrency),
      String(n),
      String(Object.values(errors).reduce((sum, count) => sum + count, 0)),
      ...[p50, p90, p95, p99, max].map((ms) => (ms === null ? '-' : ms.toFixed(1))),
      rps.toFixed(0),
    ])
    lines.push(...table(['at once', 'n', 'errors', 'p50', 'p90', 'p95', 'p99', 'max ms', 'per s'], rows))
  }
  for (const { name, limit, value, pass } of gates ?? []) {
    const measured = value === null ? 'nothing' : Number(value.toFixed(3))
    lines.push(`  gate ${name}: ${pass ? 'open' : 'CLOSED'}, measured ${measured}, limit ${limit}`)
  }
  return lines
}

/** Columns two spaces apart, numbers to the right, words to the left. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const columns = head.map((title, column) => {
    const cells = rows.map((row) => row[column] ?? '')
    const width = Math.max(title.length, ...cells.map((cell) => cell.length))
    const numbers = cells.every((cell) => /^[\d.-]*$/.test(cell))
    return (cell: string) => (numbers ? cell.padStart(width) : cell.padEnd(width))
  })
  return [head, ...rows].map((row) =>
    `  ${columns.map((aligned, column) => aligned(row[column] ?? '')).join('  ')}`.trimEnd(),
  )
}

function indented(title: string, text: string): string {
  const lines = text.trimEnd().split('\n').slice(-20)
  return [`  ${title}`, ...lines.map((line) => `    ${line}`)].join('\n')
}

function secondsText(ms: number): string {
  return ms < 1000 ? `${ms} ms` : `${(ms / 1000).toFixed(1)} s`
}
