/** Replicate's client for Python, as published on PyPI, against real flights: only its base URL and token are changed. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, onTestFinished } from 'vitest'
import { serveHttp } from '../api/server.ts'
import { startReplicateTwin } from '../dev/twins/replicate.ts'
import { existingVenv } from '../scripts/python-venv.mjs'
import { startInProcess } from './support/in-process.ts'
import { pythonMissing } from './support/model-servers.ts'
import { requirement } from './support/require.ts'

const run = promisify(execFile)
const script = fileURLToPath(new URL('./clients/replicate_client.py', import.meta.url))

requirement('python', () => pythonMissing('replicate')).test(
  "Replicate's Python client runs, waits, streams, cancels and pages with only its base URL changed",
  async () => {
    const twin = await startReplicateTwin()
    onTestFinished(() => twin.close())
    const { app, lifecycle, request } = await startInProcess({
      concurrency: 120,
      settings: (_, timeoutMs) => ({
        platform: 'replicate',
        address: twin.createUrl,
        modelId: 'v1',
        apiKey: { reveal: () => 'key' },
        timeoutMs,
      }),
    })
    // More than one page of them.
    await Promise.all(Array.from({ length: 101 }, (_, n) => lifecycle.service.submit(request(n))))
    const server = await serveHttp(app, { host: '127.0.0.1', port: 0 })
    onTestFinished(() => server.close())

    const { python } = existingVenv('replicate') ?? { python: '' }
    const { stdout } = await run(python, [script, server.url], { timeout: 120_000 })
    const seen = JSON.parse(stdout) as { pages: { sizes: number[]; ids: number } }
    expect(seen).toMatchObject({
      run: { n: 1 },
      run_of_a_version: 'of a version',
      run_polling: [1.5],
      run_longer_than_its_wait: 'slow',
      run_that_fails: { status: 'failed', error: expect.stringContaining('out of memory') },
      wait: ['starting', 'succeeded', [1, 2]],
      cancel: ['canceled', 'canceled', 'canceled'],
      aborted: ['canceled', expect.stringContaining('before the start')],
      stream: 'Hello\nyou',
      stream_that_fails: { detail: expect.stringContaining('no memory') },
      unknown: { status: 404, detail: 'prediction not found' },
      async: ['later', 'xy'],
    })
    const { sizes, ids } = seen.pages
    expect(sizes[0]).toBe(100)
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(ids)
    expect(ids).toBe(101 + 10)
  },
  180_000,
)
