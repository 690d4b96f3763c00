/** The perdure command against a served API: what it prints, and its exit code by outcome. */
import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test, vi } from 'vitest'
import { serveHttp } from '../api/server.ts'
import { startTestApi, type TestApi, type TestApiOptions } from './support/api-app.ts'
import { hang, send } from './support/scripted-server.ts'

const soon = { timeout: 30_000, interval: 20 }

const main = fileURLToPath(new URL('../cli/main.ts', import.meta.url))

async function served(options: TestApiOptions = {}): Promise<TestApi & { url: string }> {
  const api = await startTestApi(options)
  const server = await serveHttp(api.app, { host: '127.0.0.1', port: 0 })
  onTestFinished(() => server.close())
  return { ...api, url: server.url }
}

interface Ended {
  code: number | null
  stdout: string
  stderr: string
}

function perdure(
  url: string,
  args: string[],
  stdin = '',
  begun?: (child: ChildProcess) => void,
): Promise<Ended> {
  const child = spawn(process.execPath, [main, ...args], { env: { ...process.env, PERDURE_URL: url } })
  begun?.(child)
  const ended: Ended = { code: null, stdout: '', stderr: '' }
  child.stdout.on('data', (chunk) => {
    ended.stdout += chunk
  })
  child.stderr.on('data', (chunk) => {
    ended.stderr += chunk
  })
  child.stdin.end(stdin)
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve({ ...ended, code }))
  })
}

test('predict -d prints the id; task shows the record; cancel ends it; each with its exit code', async () => {
  const { url } = await served()
  const submitted = await perdure(url, ['predict', 'm', '{"n":12345678901234567890}', '-d'])
  expect(submitted.code, submitted.stderr).toBe(0)
  const id = submitted.stdout.trim()
  const waiting = await perdure(url, ['task', id, '--json'])
  expect(waiting.code).toBe(5)
  expect(JSON.parse(waiting.stdout)).toMatchObject({ id, status: 'pending' })
  const canceled = await perdure(url, ['cancel', id])
  expect(canceled).toMatchObject({ code: 0, stdout: `${id} canceled\n` })
  expect((await perdure(url, ['task', id])).code).toBe(4)
})

test('predict waits and prints the outputs digit for digit; a failure is exit code 1', async () => {
  const { url, store, deps, processId } = await served()
  const { submit } = deps.service
  let outcome: 'succeeded' | 'failed' = 'succeeded'
  deps.service.submit = async (request) => {
    const accepted = await submit(request)
    const taken = await store.take(accepted.id, processId, { taskTimeoutMs: 10_000, maxAttempts: 1 })
    if (taken.outcome !== 'taken') throw new Error(taken.outcome)
    const fields =
      outcome === 'succeeded' ? { outputs: '{"n":12345678901234567890}' } : { errorInfo: 'broken' }
    await store.transition(accepted.id, outcome, fields, taken.token)
    return accepted
  }
  const done = await perdure(url, ['predict', 'm', '-'], '{"x":1}')
  expect(done.code, done.stderr).toBe(0)
  expect(done.stdout).toContain('12345678901234567890')
  outcome = 'failed'
  const failed = await perdure(url, ['predict', 'm'])
  expect(failed.code).toBe(1)
  expect(failed.stderr).toContain('failed: broken')
})

test('what is wrong with the command or the request is 2, an API that is away is 3', async () => {
  const { url } = await served()
  expect((await perdure(url, ['predict'])).code).toBe(2)
  expect((await perdure(url, ['nonsense'])).code).toBe(2)
  expect((await perdure(url, ['predict', 'm', '[]'])).code).toBe(2)
  const unread = await perdure(url, ['predict', 'm', '@nowhere.json'])
  expect(unread).toMatchObject({ code: 2, stderr: 'perdure: nowhere.json cannot be read: ENOENT\n' })
  expect((await perdure(url, ['predict', 'm', '{"x"'])).code).toBe(2)
  expect((await perdure(url, ['task', 'nobody'])).code).toBe(2)
  const away = await perdure('http://127.0.0.1:1', ['task', 'x'])
  expect(away.code).toBe(3)
  expect(away.stderr).toContain('cannot be reached')
})

test('predict --stream prints the text as it comes; a stream that breaks is exit code 1', async () => {
  const { url, platform } = await served({
    platform: 'kserve',
    answer: send('{"id":0,"data":"Hel"}{"id":1,"data":"lo"}'),
  })
  const said = await perdure(url, ['predict', 'talker', '{}', '--stream'])
  expect(said).toMatchObject({ code: 0, stdout: 'Hello\n' })
  platform.script(send('{"id":0,"data":"Hel"}{"error":"broken"}'))
  const broken = await perdure(url, ['predict', 'talker', '--stream'])
  expect(broken.stdout).toBe('Hel\n')
  expect(broken.code, broken.stderr).toBe(1)
})

test('predict --stream --json prints a line for each piece, and the failure as the last', async () => {
  const { url, platform } = await served({
    platform: 'kserve',
    answer: send('{"id":0,"data":"Hel"}{"id":1,"data":"lo"}'),
  })
  const stream = ['predict', 'talker', '{}', '--stream', '--json']
  expect(await perdure(url, stream)).toMatchObject({
    code: 0,
    stdout: '{"id":0,"data":"Hel"}\n{"id":1,"data":"lo"}\n',
  })
  platform.script(send('{"id":0,"data":"Hel"}{"error":"broken"}'))
  const broken = await perdure(url, stream)
  expect(broken).toMatchObject({
    code: 1,
    stdout: '{"id":0,"data":"Hel"}\n{"error":"status 20007: broken"}\n',
  })
})

test('a stream that fails before its first piece has the exit code of how its prediction ended', async () => {
  const { url, platform, store } = await served({ platform: 'kserve', answer: send('{}', 500) })
  expect((await perdure(url, ['predict', 'talker', '--stream'])).code).toBe(1)
  platform.script(hang)
  const canceled = perdure(url, ['predict', 'talker', '--stream'])
  await vi.waitFor(() => expect(platform.calls).toHaveLength(2), { timeout: 20_000 })
  const { items } = await store.list({ status: 'running', limit: 1 })
  await store.cancel(items[0]!.id)
  expect((await canceled).code).toBe(4)
})

test('a caller that interrupts a stream is told that its prediction is canceled, and it is', async () => {
  const { url, platform, store } = await served({ platform: 'kserve', answer: hang })
  const left = perdure(url, ['predict', 'talker', '--stream'], '', (child) => {
    void vi
      .waitFor(() => expect(platform.calls).toHaveLength(1), { timeout: 20_000 })
      .then(() => child.kill('SIGINT'))
  })
  expect(await left).toMatchObject({ code: 130, stdout: '', stderr: 'left: the prediction is canceled\n' })
  await vi.waitFor(async () => {
    expect((await store.list({ limit: 1 })).items).toMatchObject([
      { status: 'canceled', errorInfo: 'client stopped listening' },
    ])
  }, soon)
})

test('models and check-config say what there is', async () => {
  const { url } = await served()
  expect((await perdure(url, ['models'])).stdout).toContain('ML_PLATFORM serves every name')
  expect((await perdure(url, ['check-config', '--for', 'worker', '--json', '--offline'])).code).toBe(0)
})
