/** What is counted of HTTP requests; names and buckets of the predecessor. */
import { Counter, Histogram, type Registry } from 'prom-client'
import { secondsBuckets } from './buckets.ts'

export interface HttpMetrics {
  /** Meter of one route, made once at start. Seconds. */
  route(path: string): (status: number, seconds: number) => void
}

export function makeHttpMetrics(registers: Registry[]): HttpMetrics {
  const requests = new Counter({
    name: 'http_requests_total',
    help: 'Requests by route',
    labelNames: ['path'],
    registers,
  })
  const responses = new Counter({
    name: 'response_status',
    help: 'Responses by route and status',
    labelNames: ['path', 'status'],
    registers,
  })
  const responseTime = new Histogram({
    name: 'http_response_time_seconds',
    help: 'Time until the response, by route',
    labelNames: ['path'],
    buckets: secondsBuckets,
    registers,
  })
  return {
    route(path) {
      const count = requests.labels(path)
      const time = responseTime.labels(path)
      const byStatus = new Map<number, ReturnType<typeof responses.labels>>()
      return function measure(status, seconds) {
        count.inc()
        time.observe(seconds)
        let counter = byStatus.get(status)
        if (counter === undefined) {
          counter = responses.labels(path, String(status))
          byStatus.set(status, counter)
        }
        counter.inc()
      }
    },
  }
}
