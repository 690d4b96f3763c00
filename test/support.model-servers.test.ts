/** The real model servers that other tests rely on: each starts, answers, fails as it is told to, and ends whole. */
import { expect, onTestFinished, test, vi } from 'vitest'
import {
  irisLabels,
  irisRows,
  pythonMissing,
  type ServerProcess,
  startCog,
  startKserve,
  startMlserver,
} from './support/model-servers.ts'
import { requirement } from './support/require.ts'
import { isAlive, probe } from './support/server-process.ts'

const deadline = { timeout: 90_000, interval: 100 }

function kept(server: ServerProcess): ServerProcess {
  onTestFinished(() => server.stop(), 60_000)
  return server
}

async function post(server: ServerProcess, path: string, body: unknown): Promise<Response> {
  return fetch(`${server.baseUrl}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
}

const inference = {
  id: 'golden-1',
  inputs: [{ name: 'x', shape: [3, 4], datatype: 'FP64', data: irisRows.flat() }],
}

requirement('python', () => pythonMissing('mlserver')).describe('MLServer', () => {
  test('serves iris, stays live when it is unloaded, and ends with its whole group', async () => {
    const server = kept(await startMlserver({ parallelWorkers: 1 }))
    const answer = await post(server, '/v2/models/iris/infer', inference)
    expect(await answer.json()).toMatchObject({ outputs: [{ name: 'predict', data: irisLabels }] })
    await post(server, '/v2/repository/models/iris/unload', {})
    expect(await probe(`${server.baseUrl}/v2/models/iris/ready`)).toMatchObject({ status: 404 })
    expect(await probe(`${server.baseUrl}/v2/health/ready`)).toMatchObject({ status: 200 })
    await server.stop()
    expect(isAlive(server.pid)).toBe(false)
    expect(await probe(`${server.baseUrl}/v2/health/live`)).toBeUndefined()
  }, 120_000)

  test('ends with exit code 0 on a corrupt model, the reason in its log', async () => {
    const server = kept(await startMlserver({ model: 'corrupt', wait: 'none' }))
    expect(await server.exited).toBe(0)
    expect(server.logs()).toMatch(/Error/)
  }, 120_000)

  test('is live and not ready while a slow model loads', async () => {
    const server = kept(await startMlserver({ model: 'slow', loadDelayS: 4, wait: 'none' }))
    const seen = new Set<string>()
    await vi.waitFor(async () => {
      const live = await probe(`${server.baseUrl}/v2/health/live`)
      const model = await probe(`${server.baseUrl}/v2/models/iris/ready`)
      seen.add(`${live?.status} ${model?.status}`)
      expect(seen).toContain('200 200')
    }, deadline)
    expect(seen).toContain('200 400')
  }, 120_000)
})

requirement('python', () => pythonMissing('kserve')).describe('the KServe SDK', () => {
  test('serves iris by both protocols, on loopback only', async () => {
    const server = kept(await startKserve())
    const v2 = await post(server, '/v2/models/iris/infer', inference)
    expect(await v2.json()).toMatchObject({ id: 'golden-1', outputs: [{ shape: [3], data: irisLabels }] })
    const v1 = await post(server, '/v1/models/iris:predict', { instances: irisRows })
    expect(await v1.json()).toEqual({ predictions: irisLabels })
    expect(server.logs()).not.toContain('0.0.0.0')
  }, 120_000)

  test('says ready with a model that is not', async () => {
    const server = kept(await startKserve({ model: 'cold' }))
    expect(await probe(`${server.baseUrl}/v2/models/cold/ready`)).toMatchObject({ status: 503 })
    expect(await probe(`${server.baseUrl}/v2/health/ready`)).toMatchObject({ status: 200 })
  }, 120_000)

  test('ends with exit code 1 on a corrupt model', async () => {
    const server = kept(await startKserve({ model: 'corrupt', wait: 'none' }))
    expect(await server.exited).toBe(1)
  }, 120_000)
})

requirement('python', () => pythonMissing('cog')).describe('Cog', () => {
  test('answers the weighted sum', async () => {
    const server = kept(await startCog())
    const answer = await post(server, '/predictions', { input: { sl: 5.1 } })
    expect(await answer.json()).toMatchObject({ status: 'succeeded', output: expect.closeTo(1.77, 5) })
  }, 120_000)

  test.each<[string, Parameters<typeof startCog>[0], string]>([
    ['loading', { loadDelayS: 5 }, 'STARTING'],
    ['failed', { bad: true }, 'SETUP_FAILED'],
  ])(
    'says so when its setup is %s',
    async (_what, options, status) => {
      const server = kept(await startCog({ ...options, wait: 'none' }))
      await vi.waitFor(async () => {
        expect((await probe(`${server.baseUrl}/health-check`))?.body).toContain(`"${status}"`)
      }, deadline)
    },
    120_000,
  )
})
