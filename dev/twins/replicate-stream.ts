/** The event stream of a Replicate twin's job: `output`, `error`, `done`; resumed behind `Last-Event-ID`. */
import type { ServerResponse } from 'node:http'
import { isEnded, type TwinJob } from './job.ts'

export function streamEvents(job: TwinJob, response: ServerResponse, lastEventId: unknown): void {
  const { noise = '', breakAfter = Number.POSITIVE_INFINITY } = job.scenario
  let next = eventAfter(lastEventId)
  let given = 0
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' })
  // A client learns that it is connected before there is anything to say.
  response.flushHeaders()

  const send = ([name, data]: [name: string, data: string]) => {
    const lines = data.split('\n').map((line) => `data: ${line}\n`)
    const frame = `${noise}event: ${name}\nid: ${job.createdAt.getTime()}:${next++}\n${lines.join('')}\n`
    given++
    if (given < breakAfter) return void response.write(frame)
    unwatch()
    response.write(frame, () => response.socket?.resetAndDestroy())
  }
  const advance = () => {
    const events = eventsOf(job)
    while (given < breakAfter && next < events.length) send(events[next] ?? ['done', '{}'])
    if (!isEnded(job) || given >= breakAfter) return
    unwatch()
    response.end()
  }
  const unwatch = job.watch(advance)
  response.on('close', unwatch)
  advance()
}

/** All events so far, always the same ones under the same numbers. */
function eventsOf(job: TwinJob): [name: string, data: string][] {
  const events = job.chunks.map((chunk): [string, string] => ['output', chunk])
  if (!isEnded(job)) return events
  if (job.phase === 'succeeded') return [...events, ['done', '{}']]
  if (job.phase !== 'failed') return [...events, ['done', '{"reason":"canceled"}']]
  return [...events, ['error', JSON.stringify({ detail: job.error })], ['done', '{"reason":"error"}']]
}

function eventAfter(lastEventId: unknown): number {
  const number = /:(\d+)$/.exec(String(lastEventId ?? ''))?.[1]
  return number === undefined ? 0 : Number(number) + 1
}
