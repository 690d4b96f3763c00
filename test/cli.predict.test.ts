/** The perdure command against a served API: what it prints, and its exit code by outcome. */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { serveHttp } from '../api/server.ts'
import { startTestApi, type TestApi, type TestApiOptions } from './support/api-app.ts'
import { send } from './support/scripted-server.ts'

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

function perdure(url: string, args: string[], stdin = ''): Promise<Ended> {
  const child = spawn(process.execPath, [main, ...args], { env: { ...process.env, PERDURE_URL: url } })
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

test('models and check-config say what there is', async () => {
  const { url } = await served()
  expect((await perdure(url, ['models'])).stdout).toContain('ML_PLATFORM serves every name')
  expect((await perdure(url, ['check-config', '--for', 'worker', '--json', '--offline'])).code).toBe(0)
})
