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
