/** Commands that become another program: one process, which has the signals and the exit code. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test, vi } from 'vitest'
import { temporaryFolder } from './support/folders.ts'

const command = fileURLToPath(new URL('../cli/main.ts', import.meta.url))

test.skipIf(process.platform !== 'linux')(
  'perdure records is the record service itself, with no process before it or behind it',
  async () => {
    const folder = temporaryFolder('command')
    const env = { ...process.env, HTTP_SERVER_ADDRESS: '127.0.0.1:0', PERDURE_DATA_DIR: folder }
    const child = spawn(process.execPath, [command, 'records'], { env, cwd: folder, stdio: 'pipe' })
    const ended = once(child, 'exit')
    onTestFinished(async () => {
      child.kill('SIGKILL')
      await ended
    })
    let log = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        log += chunk.toString('utf8')
      })
    }
    await vi.waitFor(() => expect(log).toContain('listens'), { timeout: 30_000 })
    const files = `/proc/${child.pid}`
    expect(readFileSync(`${files}/cmdline`, 'utf8')).toContain('records/main.ts')
    expect(readFileSync(`${files}/task/${child.pid}/children`, 'utf8')).toBe('')
    child.kill('SIGTERM')
    expect(await ended, log).toEqual([0, null])
  },
)
