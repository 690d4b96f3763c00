/** The record service as a process of its own: it says where it listens, serves, drains, and fails in one line. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test, vi } from 'vitest'

const main = fileURLToPath(new URL('../records/main.ts', import.meta.url))

function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'perdure-records-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

function start(env: Record<string, string>): { child: ChildProcess; stderr: () => string } {
  const child = spawn(process.execPath, [main], {
    env: { PATH: process.env.PATH, HTTP_SERVER_ADDRESS: '127.0.0.1:0', ENVIRONMENT: 'production', ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let text = ''
  child.stderr?.on('data', (chunk: Buffer) => {
    text += chunk.toString()
  })
  onTestFinished(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  })
  return { child, stderr: () => text }
}

async function addressOf(stderr: () => string): Promise<string> {
  return vi.waitFor(
    () => {
      const [, url] = /"url":"(http:[^"]+)"/.exec(stderr()) ?? []
      if (url === undefined) throw new Error(`no address yet: ${stderr()}`)
      return url
    },
    { timeout: 30_000 },
  )
}

test('it keeps tasks and files over a restart, and SIGTERM ends it with exit code 0', async () => {
  const PERDURE_DATA_DIR = folder()
  const first = start({ PERDURE_DATA_DIR })
  const url = await addressOf(first.stderr)
  const posted = await fetch(`${url}/task`, { method: 'POST', body: '{"id":"t","model_name":"m"}' })
  expect(posted.status).toBe(200)
  const form = new FormData()
  form.set('file', new Blob(['content of the file']), 'a.txt')
  const upload = await fetch(`${url}/upload`, { method: 'POST', body: form })
  const file = new URL(((await upload.json()) as { url: string }).url)
  first.child.kill('SIGTERM')
  expect(await once(first.child, 'exit')).toEqual([0, null])

  const again = await addressOf(start({ PERDURE_DATA_DIR }).stderr)
  expect(await (await fetch(`${again}/task/t`)).json()).toMatchObject({ id: 't', status: 'pending' })
  expect(await (await fetch(again + file.pathname)).text()).toBe('content of the file')
})

test('what its settings are warned of is said at its start', async () => {
  const { stderr } = start({ PERDURE_DATA_DIR: folder(), REDIS_ADDRESS: 'redis:6379' })
  await addressOf(stderr)
  expect(stderr()).toContain('REDIS_ADDRESS: no longer used')
})

test('a taken port, an unusable folder and a wrong setting are one line each, exit code 1', async () => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  onTestFinished(() => void other.close())
  const address = other.address()
  const port = typeof address === 'object' ? address?.port : 0
  const file = join(folder(), 'file')
  writeFileSync(file, '')
  for (const [env, words] of [
    [
      { PERDURE_DATA_DIR: folder(), HTTP_SERVER_ADDRESS: `127.0.0.1:${port}` },
      /^records: cannot listen on .*$/,
    ],
    [{ PERDURE_DATA_DIR: join(file, 'x') }, /^records: The record store in .* cannot be opened: .*$/],
    [{ PERDURE_DATA_DIR: folder(), MAX_UPLOAD_SIZE: 'much' }, /^.*MAX_UPLOAD_SIZE.*$/],
  ] as const) {
    const { child, stderr } = start(env)
    expect(await once(child, 'exit')).toEqual([1, null])
    const lines = stderr().trim().split('\n')
    expect(lines).toHaveLength(1)
    expect(lines[0]).toMatch(words)
  }
})
