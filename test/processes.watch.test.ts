/** Processes as those who run them see them: one trace through all of them, log lines with ids, `/metrics` of each. */
import { randomBytes } from 'node:crypto'
import { expect, test, vi } from 'vitest'
import { freePorts } from '../dev/free-ports.ts'
import { echo, makeDeployment, type Part, startWithin } from './support/deployment.ts'
import { soon, startTraceReceiver } from './support/otlp-receiver.ts'

const anyPort = { PERDURE_METRICS_ADDRESS: '127.0.0.1:0' }

/** Log lines of a process, as far as they are whole. */
function linesOf(part: Part): Record<string, unknown>[] {
  return part
    .output()
    .split('\n')
    .flatMap((line) => {
      try {
        return [JSON.parse(line) as Record<string, unknown>]
      } catch {
        return []
      }
    })
}

async function line(part: Part, message: string): Promise<Record<string, unknown>> {
  return vi.waitFor(() => {
    const found = linesOf(part).find((one) => one.message === message)
    expect(found, part.output()).toBeDefined()
    return found!
  }, startWithin)
}

/** Where a process listens for those who watch it. */
async function watched(part: Part): Promise<string> {
  const { url } = await line(part, 'metrics')
  return String(url).replace(/\/metrics$/, '')
}

test('a prediction whose worker is killed stays in one trace, and every line about it has its ids', async () => {
  const receiver = await startTraceReceiver()
  const deployment = await makeDeployment({
    env: { ...receiver.env, LOG_LEVEL: 'info' },
    // The first call is never answered.
    platform: () => undefined,
  })
  const victim = await deployment.startWorker()
  const api = await deployment.startApi()
  const [traceId, spanId] = [randomBytes(16).toString('hex'), randomBytes(8).toString('hex')]
  const answer = await fetch(`${deployment.baseUrl}/async/v1/predict`, {
    method: 'POST',
    headers: { traceparent: `00-${traceId}-${spanId}-01` },
    body: JSON.stringify({ model_name: 'm', inputs: { inputs: [1] } }),
  })
  const { id } = (await answer.json()) as { id: string }
  await vi.waitFor(() => expect(deployment.platform.calls).toHaveLength(1), soon)
  await victim.kill()
  deployment.platform.script(echo)
  const successor = await deployment.startWorker()

  const chain = ['POST /async/v1/predict', 'start flight', 'flight', 'fly', 'prediction', 'call v2']
  let parentId = spanId
  for (const name of chain) {
    const span = await receiver.span(traceId, name)
    expect(span.parentId, name).toBe(parentId)
    expect(span.service).toBe(
      name.includes(' ') && !name.startsWith('call') ? 'perdure-api' : 'perdure-worker',
    )
    parentId = span.spanId
  }
  const [first, second] = deployment.platform.calls.map(({ headers }) => String(headers.traceparent))
  expect(first).toMatch(new RegExp(`^00-${traceId}-[0-9a-f]{16}-01$`))
  expect(second).toBe(`00-${traceId}-${parentId}-01`)
  expect((await receiver.span(traceId, 'fly')).attributes['temporal.activity.attempt']).toBeGreaterThan(1)

  const ids = { prediction: id, workflow: `flight-${id.slice(0, 18)}`, trace_id: traceId }
  expect(linesOf(api).find(({ path }) => path === '/async/v1/predict')).toMatchObject({
    message: 'request',
    status: 200,
    ...ids,
  })
  expect(await line(successor, 'prediction ended')).toMatchObject({ status: 'succeeded', code: 'ok', ...ids })
  await fetch(`${deployment.baseUrl}/task/${id}`)
  await vi.waitFor(
    () => expect(linesOf(api).find(({ path }) => path === `/task/${id}`)).toMatchObject({ prediction: id }),
    soon,
  )
}, 120_000)

test('a worker tells whether it is alive and ready, and shows its metrics and those of the SDK', async () => {
  const [port] = await freePorts(1)
  const deployment = await makeDeployment({
    env: { PERDURE_METRICS_ADDRESS: `127.0.0.1:${port}`, LOG_LEVEL: 'info' },
  })
  const worker = await deployment.startWorker()
  await deployment.startApi()
  await deployment.noteStatuses()
  const url = await watched(worker)
  expect((await fetch(`${url}/live`)).status).toBe(200)
  expect((await fetch(`${url}/nothing`)).status).toBe(404)
  await vi.waitFor(async () => expect((await fetch(`${url}/ready`)).status).toBe(200), startWithin)
  expect(await deployment.launch('deploy/healthcheck.ts', 'worker').exited).toBe(0)
  const { id } = await deployment.submit(1)
  await deployment.expectSettled([id])
  await vi.waitFor(async () => {
    const text = await (await fetch(`${url}/metrics`)).text()
    for (const shown of [
      'predictions_total{model="m",platform="v2",status="succeeded"} 1',
      'platform_calls_total{model="m",platform="v2",code="ok"} 1',
      'temporal_workflow_completed{',
      'temporal_worker_task_slots_available{',
      'temporal_activity_execution_latency_bucket{',
      'process_resident_memory_bytes ',
    ])
      expect(text).toContain(`\n${shown}`)
    expect(text).not.toContain(id)
  }, soon)
}, 120_000)

test('a worker that has no Temporal is alive and not ready', async () => {
  const deployment = await makeDeployment({ ownTemporal: true, env: { ...anyPort, LOG_LEVEL: 'info' } })
  await deployment.killTemporal()
  const worker = await deployment.startWorker()
  const url = await watched(worker)
  expect((await fetch(`${url}/live`)).status).toBe(200)
  const answer = await fetch(`${url}/ready`)
  expect(answer.status).toBe(503)
  expect(await answer.json()).toMatchObject({ code: 'temporal_unavailable' })
  await deployment.restartTemporal()
  await vi.waitFor(async () => expect((await fetch(`${url}/ready`)).status).toBe(200), startWithin)
}, 120_000)

test('the record service alone is watched in the same way', async () => {
  const deployment = await makeDeployment({
    env: { ...anyPort, LOG_LEVEL: 'info', HTTP_SERVER_ADDRESS: '127.0.0.1:0' },
  })
  const records = deployment.launch('records/main.ts')
  const url = await watched(records)
  const service = String((await line(records, 'record service listens')).url)
  await fetch(`${service}/task/unknown`)
  await vi.waitFor(async () => expect((await fetch(`${url}/ready`)).status).toBe(200), startWithin)
  const text = await (await fetch(`${url}/metrics`)).text()
  expect(text).toMatch(/^http_requests_total\{path="\/task\/:id"\} 1$/m)
  expect(await records.stop()).toBe(0)
}, 120_000)

test('nothing listens beside the API unless it is told to', async () => {
  const deployment = await makeDeployment({ env: { LOG_LEVEL: 'info' } })
  const worker = await deployment.startWorker()
  await deployment.startApi()
  await line(worker, 'worker polls')
  expect(linesOf(worker).map(({ message }) => message)).not.toContain('metrics')
}, 120_000)
