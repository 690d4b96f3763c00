/** `perdure twin`: prints settings to paste, serves until stopped, refuses what it does not know. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'

const main = join(import.meta.dirname, '..', 'dev', 'twins', 'main.ts')

function twin(...args: string[]) {
  const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = once(child, 'exit')
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await ended
  })
  let out = ''
  let errors = ''
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString('utf8')
  })
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString('utf8')
  })
  return {
    errors: () => errors,
    /** Of the lines that are printed whole. */
    settings: () =>
      Object.fromEntries(
        out
          .split('\n')
          .slice(0, -1)
          .map((line) => line.split(/=(.*)/s).slice(0, 2)),
      ),
    code: async () => (await ended)[0],
    stop: () => child.kill('SIGTERM'),
  }
}

test.each([
  ['replicate', 'REPLICATE_ADDRESS', '', '{"version":"v","input":{}}', 201],
  ['runpod', 'RUNPOD_ADDRESS', '/twin/run', '{"input":{}}', 200],
])(
  'the %s twin serves at the address it prints and stops on a signal',
  async (name, key, path, body, status) => {
    const folder = await mkdtemp(join(tmpdir(), 'twin-'))
    onTestFinished(() => rm(folder, { recursive: true }))
    const file = join(folder, 'scenario.yaml')
    await writeFile(file, 'runMs: 1\noutput: hello\n')
    const command = twin(name, '--port', '0', '--key', 'k', '--scenario', file)
    await vi.waitFor(
      () =>
        expect(command.settings()).toMatchObject({
          ML_PLATFORM: name,
          [key]: expect.stringMatching(/^http:/),
          [`${name.toUpperCase()}_APIKEY`]: 'k',
        }),
      { timeout: 20_000 },
    )
    const headers = { authorization: 'Bearer k' }
    const answer = await fetch(`${command.settings()[key]}${path}`, { method: 'POST', headers, body })
    expect(answer.status).toBe(status)
    command.stop()
    expect(await command.code()).toBe(0)
  },
)

test.each([
  [['modal'], 'no twin is called "modal"'],
  [['runpod', '--port', 'x'], '--port: "x" is not a port'],
  [['runpod', '--colour', 'red'], 'colour'],
  [['replicate', '--scenario', '/nowhere.yaml'], '/nowhere.yaml'],
])('wrong usage %j exits 2 and says why', async (args, text) => {
  const command = twin(...args)
  expect(await command.code()).toBe(2)
  expect(command.errors()).toContain(text)
  expect(command.errors()).toContain('usage:')
})
