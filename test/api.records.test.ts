/** The record service on the API's port: its routes beside the inherited ones, measured like them. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { makeApp } from '../api/app.ts'
import { makeMetrics } from '../metrics.ts'
import { makeRecordRoutes } from '../records/app.ts'
import { makeFolderFiles } from '../records/folder-files.ts'
import { makeUploadTokens } from '../records/upload-tokens.ts'
import { observe } from '../runtime/http/observe.ts'
import { startTestApi } from './support/api-app.ts'

async function bothOnOnePort(apiKey = '') {
  const api = await startTestApi()
  const { settings, store, waiting } = api
  // A metric has one owner: this is another app over the same parts.
  const deps = { ...api.deps, metrics: makeMetrics() }
  const folder = mkdtempSync(join(tmpdir(), 'perdure-files-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const tokens = makeUploadTokens(apiKey)
  const recordRoutes = makeRecordRoutes(
    { store, bytes: makeFolderFiles(folder), tokens },
    {
      apiKey,
      maxBodyBytes: 100_000,
      maxFileBytes: 100_000,
      retentionMs: 60_000,
      observe: (path, handler) => observe(deps, path, 'inherited', handler),
    },
    () => undefined,
  )
  const app = makeApp({ ...deps, recordRoutes }, settings)
  const send = async (method: string, path: string, body?: string | FormData, headers = {}) => {
    const answer = await app.request(path, { method, headers, ...(body !== undefined && { body }) })
    return { status: answer.status, json: JSON.parse(await answer.text()) }
  }
  return { app, deps, tokens, send, waiting, logged: api.logged }
}

function upload(): FormData {
  const form = new FormData()
  form.set('file', new Blob(['the whole content']), 'out.txt')
  return form
}

test('tasks of others and predictions of ours are read under the same path', async () => {
  const { send, waiting } = await bothOnOnePort()
  const id = await waiting()
  expect(await send('GET', `/task/${id}`)).toMatchObject({ status: 200, json: { id, status: 'pending' } })
  expect((await send('POST', '/task', '{"id":"theirs","model_name":"m"}')).status).toBe(200)
  expect(await send('GET', '/task/theirs')).toMatchObject({ status: 200, json: { status: 'pending' } })
  const asked = await send('GET', '/task/modelstatus?model_name=m&status=pending')
  expect(asked.json.map((row: { task_id: string }) => row.task_id)).toEqual(['theirs', id])
})

test('errors have the one shape, unknown methods are 405, and requests are measured by pattern', async () => {
  const { send, deps } = await bothOnOnePort()
  expect(await send('PUT', '/task', '{"id":"absent"}')).toMatchObject({
    status: 404,
    json: { error: 'task not found', code: 'not_found' },
  })
  expect((await send('DELETE', '/task')).status).toBe(405)
  expect(await send('POST', '/task', 'no json')).toMatchObject({ status: 400 })
  const text = await deps.metrics.text()
  expect(text).toMatch(/path="\/task"/)
})

test('with a key set, a model uploads to its address without it, and no log line has that address', async () => {
  const { app, send, tokens, logged } = await bothOnOnePort('k3y')
  expect((await send('POST', '/upload', upload())).status).toBe(401)
  const token = tokens.issue('p', 60_000)
  const { status, json } = await send('POST', `/u/${token}/upload`, upload())
  expect(status).toBe(200)
  const file = await app.request(new URL(json.url).pathname)
  expect(await file.text()).toBe('the whole content')
  expect((await send('GET', `/u/${token}/upload`)).status).toBe(405)
  expect(logged.filter(({ path }) => path === '/u/:token/upload')).toHaveLength(2)
  expect(JSON.stringify(logged)).not.toContain(token)
})

test.each([
  ['/files/3f2a.png', '/files/:name'],
  ['//files/3f2a.png', '/files/:name'],
  ['/Files/3f2a.png', '/files/:name'],
  ['/files/3f2a.png/more?name=3f2a.png', '/files/:name/more'],
  ['/u/3f2a/nothing', '/u/:token/nothing'],
  ['/task/x?name=3f2a', '/task/x'],
])('%s is logged as %s: whoever has a name or a token may use it', async (asked, path) => {
  const { send, logged } = await bothOnOnePort()
  await send('GET', asked)
  expect(logged).toMatchObject([{ message: 'request', path }])
  expect(JSON.stringify(logged)).not.toContain('3f2a')
})

test.each(['/task/', '/v1/predictions/', '/v1/validations/', '/nowhere/'])(
  'however long or strange what follows %s is, its line is short and the path in it one line',
  async (start) => {
    const { app, logged } = await bothOnOnePort()
    await app.request(start + 'x'.repeat(8_000))
    await app.request(`${start}${'%0A%1B%C2%9B'.repeat(1_000)}`)
    await app.request(`${start}a%0A12:00:00.000%20INFO%20forged`)
    expect(logged).toHaveLength(3)
    for (const line of logged) {
      expect(String(line.path).length).toBeLessThanOrEqual(256)
      expect(String(line.path)).not.toMatch(/\p{Cc}/u)
      expect(JSON.stringify(line).length).toBeLessThan(512)
    }
    expect(logged[2]?.path).toBe(`${start}a\\u{a}12:00:00.000 INFO forged`)
  },
)
