/** The event stream of a Replicate twin's job: `output`, `error`, `done`. */
import type { ServerResponse } from 'node:http'
import { isEnded, type TwinJob } from './job.ts'

export function streamEvents(job: TwinJob, response: ServerResponse): void {
  let sent = 0
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' })
  const event = (name: string, data: string) => {
    const lines = data.split('\n').map((line) => `data: ${line}\n`)
    response.write(`event: ${name}\nid: ${Date.now()}:${sent}\n${lines.join('')}\n`)
  }
  const advance = () => {
    for (; sent < job.chunks.length; sent++) event('output', job.chunks[sent] ?? '')
    if (!isEnded(job)) return
    unwatch()
    if (job.phase === 'failed') {
      event('error', JSON.stringify({ detail: job.error }))
      event('done', '{"reason":"error"}')
    } else {
      event('done', job.phase === 'succeeded' ? '{}' : '{"reason":"canceled"}')
    }
    response.end()
  }
  const unwatch = job.watch(advance)
  response.on('close', unwatch)
  advance()
}
