/**
 * The predecessor's own app.env files, every key as it ships them, start our processes: what they say is obeyed, what
 * means nothing any more is one warning, and a prediction reaches its platform and both record services.
 */
import { randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { lastingPorts } from '../dev/free-ports.ts'
import { temporaryFolder } from './support/folders.ts'
import { startProgram } from './support/program.ts'
import { json, startScriptedServer } from './support/scripted-server.ts'

const soon = { timeout: 60_000, interval: 50 }
const key = '123456789'

function folderWith(settings: Record<string, string | number>): string {
  const folder = temporaryFolder('app-env')
  const lines = Object.entries(settings).map(([name, value]) => `${name}=${value}\n`)
  writeFileSync(join(folder, 'app.env'), lines.join(''))
  return folder
}

test('an agent and a record service run with the app.env files of the predecessor', async () => {
  const platform = await startScriptedServer(json({ predictions: [3] }))
  onTestFinished(() => platform.close())
  const [api, records] = await lastingPorts(2)
  const agentFolder = folderWith({
    ENVIRONMENT: 'development',
    HTTP_SERVER_ADDRESS: `127.0.0.1:${api}`,
    ML_PLATFORM: 'kserve',
    UPLOAD_WEBHOOK_ADDRESS: `127.0.0.1:${records}`,
    REDIS_ADDRESS: '0.0.0.0:6379',
    REDIS_CLUSTER_MODE: 'false',
    USE_LOCAL_REDIS: 'false',
    SHUTDOWN_DELAY: 2,
    ENABLE_PERIODIC_CHECK: 'false',
    WORKER_CONCURRENCY: 4,
    MAX_QUEUE_SIZE: 30,
    TASK_TYPE_NAME: `test-${randomUUID()}`,
    TASK_TIMEOUT: 320,
    MODEL_NAME: '',
    WEBHOOK_SERVER_ADDRESS: `127.0.0.1:${records}`,
    WEBHOOK_APIKEY: key,
    KSERVE_VERSION: '0.10.2',
    KSERVE_ADDRESS: platform.address,
    KSERVE_CUSTOM_DOMAIN: 'example.com',
    KSERVE_NAMESPACE: 'default',
    KSERVE_REQUEST_TIMEOUT: 300,
    REPLICATE_ADDRESS: 'https://api.replicate.com/v1/predictions',
    REPLICATE_APIKEY: '',
    REPLICATE_MODEL_ID: '22c920af07cfd46d7540374b367953829c68167c395448c8e2a39597480a2d09',
    REPLICATE_REQUEST_TIMEOUT: 300,
    RUNPOD_ADDRESS: 'https://api.runpod.ai/v2',
    RUNPOD_APIKEY: '',
    RUNPOD_MODEL_ID: '',
    RUNPOD_REQUEST_TIMEOUT: 300,
    K8SPLUGIN_ADDRESS: '0.0.0.0:8002',
    K8SPLUGIN_REQUEST_TIMEOUT: 300,
  })
  const recordsFolder = folderWith({
    HTTP_SERVER_ADDRESS: `127.0.0.1:${records}`,
    SECRET_APIKEY: key,
    REDIS_ADDRESS: '0.0.0.0:6379',
    REDIS_KEY_DURATION: '48h',
    DB_SOURCE: 'postgresql://root:secret@localhost:5432/records?sslmode=disable',
    MIGRATION_URL: 'file://db/migration',
    AWS_REGION: 'us-east-1',
  })
  const service = startProgram('records/main.ts', {}, { cwd: recordsFolder })
  const worker = startProgram('worker/main.ts', {}, { cwd: agentFolder })
  const agent = startProgram('api/main.ts', {}, { cwd: agentFolder })
  const apiUrl = `http://127.0.0.1:${api}`
  const recordsUrl = `http://127.0.0.1:${records}`
  for (const url of [recordsUrl, apiUrl]) {
    await vi.waitFor(async () => {
      const said = `${agent.stderr()}${worker.stderr()}${service.stderr()}`
      expect(
        await fetch(`${url}/ready`).then(
          ({ status }) => status,
          () => 0,
        ),
        said,
      ).toBe(200)
    }, soon)
  }

  const checked = startProgram('cli/main.ts', {}, { args: ['check-config'], cwd: agentFolder })
  expect(await checked.exited, checked.stdout()).toBe(0)
  expect(checked.lines().filter((line) => line.includes('REDIS'))).toEqual([
    'warning: REDIS_ADDRESS, REDIS_CLUSTER_MODE, USE_LOCAL_REDIS: no longer used, predictions always survive a restart',
  ])
  expect(agent.stderr()).toContain('REDIS_ADDRESS, REDIS_CLUSTER_MODE, USE_LOCAL_REDIS: no longer used')

  const accepted = await fetch(`${apiUrl}/async/v1/predict`, {
    method: 'POST',
    body: '{"model_name":"m","inputs":{"instances":[[1]]}}',
  })
  expect(accepted.status, agent.stderr()).toBe(200)
  const { id } = (await accepted.json()) as { id: string }
  for (const [url, headers] of [
    [apiUrl, {}],
    [recordsUrl, { apikey: key }],
  ] as const) {
    await vi.waitFor(async () => {
      const record = await fetch(`${url}/task/${id}`, { headers })
      expect(await record.json()).toMatchObject({ status: 'succeeded', outputs: { predictions: [3] } })
    }, soon)
  }
  const calls = platform.calls.filter(({ method }) => method === 'POST')
  expect(calls.map(({ path, headers }) => [path, headers.host])).toEqual([
    ['/v1/models/m:predict', 'm.default.example.com'],
  ])
  expect(await Promise.all([agent, worker, service].map((each) => each.stop()))).toEqual([0, 0, 0])
}, 120_000)
