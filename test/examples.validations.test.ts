/** The files of examples/validations: every one is valid, and those that need nothing but this repository are BLESSED by the command. */
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { makeApp } from '../api/app.ts'
import { serveHttp } from '../api/server.ts'
import { readValidationFile } from '../cli/validation-file.ts'
import { parseValidation } from '../contracts/validation.ts'
import { makeMetrics } from '../metrics.ts'
import { digestFiles } from '../protocols/digest.ts'
import { makeRunners, type Runners } from '../runners/index.ts'
import { existingVenv } from '../scripts/python-venv.mjs'
import { startTestApi } from './support/api-app.ts'
import { temporaryFolder } from './support/folders.ts'
import { pythonMissing } from './support/model-servers.ts'
import { requirement } from './support/require.ts'
import { serveModel } from './support/served-model.ts'
import { candidateRequest, startValidations, type Validations } from './support/validations.ts'

const folder = fileURLToPath(new URL('../examples/validations/', import.meta.url))
const files = readdirSync(folder).filter((name) => name.endsWith('.yaml'))
const main = fileURLToPath(new URL('../cli/main.ts', import.meta.url))
const selfContained = [
  'process-iris.yaml',
  'process-open-inference.yaml',
  'process-kserve-v1.yaml',
  'process-custom.yaml',
]

async function served(runners?: (root: string) => Runners): Promise<Validations & { url: string }> {
  const world = await startValidations({ worker: runners === undefined })
  if (runners !== undefined) await world.startWorker({ runners: runners(world.jobsRoot) })
  const api = await startTestApi()
  const app = makeApp({ ...api.deps, metrics: makeMetrics(), validations: world.service }, api.settings)
  const server = await serveHttp(app, { host: '127.0.0.1', port: 0 })
  onTestFinished(() => server.close())
  return { ...world, url: server.url }
}

interface Ended {
  code: number | null
  stdout: string
  stderr: string
}

function perdure(url: string, args: string[], seen?: (text: string, pid: number) => void): Promise<Ended> {
  const child = spawn(process.execPath, [main, ...args], {
    env: { ...process.env, PERDURE_URL: url },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const ended: Ended = { code: null, stdout: '', stderr: '' }
  child.stdout.on('data', (chunk) => {
    ended.stdout += chunk
  })
  child.stderr.on('data', (chunk) => {
    ended.stderr += chunk
    seen?.(ended.stderr, child.pid ?? 0)
  })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve({ ...ended, code }))
  })
}

test.each(files)('%s is a valid request with absolute paths', async (name) => {
  const request = await readValidationFile(`${folder}${name}`)
  const { faults, spec } = parseValidation(request)
  expect(faults).toBeUndefined()
  expect(spec?.model.path ?? '/').toMatch(/^\//)
})

test('there is an example for every runner', async () => {
  const kinds = await Promise.all(
    files.map(
      async (name) => parseValidation(await readValidationFile(`${folder}${name}`)).spec?.servingSpec,
    ),
  )
  expect(new Set(kinds.map((spec) => spec?.platform.kind))).toEqual(
    new Set(['process', 'endpoint', 'docker', 'kubernetes']),
  )
  expect(new Set(kinds.map((spec) => spec?.binary.kind)).size).toBe(6)
})

test.each(selfContained)('perdure validate %s ends BLESSED', async (name) => {
  const { url, jobs } = await served()
  const { code, stdout, stderr } = await perdure(url, ['validate', `${folder}${name}`])
  expect(code, stdout + stderr).toBe(0)
  expect(stdout).toMatch(/^BLESSED {2}iris until /)
  expect(stderr).toContain('waits until the model is ready')
  expect((await jobs()).filter(({ alive }) => alive)).toEqual([])
})

requirement('python', () => pythonMissing('cog')).test(
  'perdure validate process-cog.yaml ends BLESSED, with the environment of Cog first on PATH',
  async () => {
    const { bin } = existingVenv('cog')!
    // As a worker has it that was started from the activated environment.
    const env = { PATH: `${bin}:${process.env.PATH}` }
    const { url, jobs } = await served((root) => makeRunners({ process: { root, env } }))
    const { code, stdout, stderr } = await perdure(url, ['validate', `${folder}process-cog.yaml`])
    expect(code, stdout + stderr).toBe(0)
    expect(stdout).toMatch(/^BLESSED {2}cog until /)
    expect((await jobs()).filter(({ alive }) => alive)).toEqual([])
  },
  240_000,
)

test('perdure validate endpoint.yaml ends BLESSED where the sample model is served, which goes on serving', async () => {
  const text = readFileSync(`${folder}endpoint.yaml`, 'utf8')
  // The digest is what its reader can check: that of the file which `npm start` serves.
  expect(text).toContain(
    await digestFiles(fileURLToPath(new URL('../examples/iris/model.json', import.meta.url))),
  )
  const root = fileURLToPath(new URL('../', import.meta.url))
  const args = ['modelserver/main.ts', 'examples/iris/model.ts']
  const { origin } = await serveModel(process.execPath, args, {
    cwd: root,
    env: { ...process.env, PORT: '0' },
  })
  const file = join(temporaryFolder('endpoint'), 'endpoint.yaml')
  expect(text).toContain('address: 127.0.0.1:8080')
  writeFileSync(file, text.replace('127.0.0.1:8080', new URL(origin).host))
  const { url } = await served()
  const { code, stdout, stderr } = await perdure(url, ['validate', file])
  expect(code, stdout + stderr).toBe(0)
  expect(stdout).toMatch(/^BLESSED {2}iris until /)
  expect((await fetch(`${origin}/v2/models/iris/ready`)).status).toBe(200)
})

test('perdure validate: exit codes and words by verdict; --json for scripts; bless list, show and revoke', async () => {
  const { url } = await served()
  const place = temporaryFolder('cli')
  const file = (name: string, request: unknown) => {
    const path = join(place, name)
    writeFileSync(path, JSON.stringify(request))
    return path
  }
  const good = await perdure(url, ['validate', file('good.json', candidateRequest()), '--json'])
  expect(good.code, good.stderr).toBe(0)
  const { validation, blessing } = JSON.parse(good.stdout)
  expect(validation).toMatchObject({ verdict: 'BLESSED', blessing: blessing.id })

  const dying = candidateRequest({}, { binary: { command: [process.execPath, '-e', 'process.exit(3)'] } })
  const bad = await perdure(url, ['validate', file('bad.json', dying)])
  expect(bad.code).toBe(1)
  expect(bad.stdout).toMatch(/^NOT_BLESSED/)
  expect(bad.stdout).toMatch(/JOB_ABORTED: .*exited with code 3/)

  const nowhere = candidateRequest({}, { model: { path: '/nowhere' } })
  const unreadable = await perdure(url, ['validate', file('nowhere.json', nowhere)])
  expect(unreadable).toMatchObject({ code: 2 })
  expect(unreadable.stdout).toContain('CONFIG_INVALID: model.path: cannot be read')
  const wrong = await perdure(url, ['validate', file('wrong.json', { ...candidateRequest(), limit: 1 })])
  expect(wrong.code).toBe(2)
  expect(wrong.stderr).toContain('limit: is not a known field')
  expect(await perdure(url, ['validate', join(place, 'absent.yaml')])).toMatchObject({ code: 2 })
  expect((await perdure('http://127.0.0.1:9', ['validate', file('x.json', {})])).code).toBe(3)

  const list = await perdure(url, ['bless', 'list', '--verdict', 'BLESSED'])
  expect(list.stdout).toContain(blessing.id)
  const shown = await perdure(url, ['bless', 'show', blessing.id])
  expect(JSON.parse(shown.stdout)).toMatchObject({ id: blessing.id })
  const revoked = await perdure(url, ['bless', 'revoke', blessing.id, '--reason', 'recalled'])
  expect(revoked).toMatchObject({ code: 0, stdout: expect.stringContaining(`${blessing.id} revoked at`) })
}, 120_000)

test('Ctrl-C cancels the validation and waits until its server is gone: exit code 4', async () => {
  const { url, jobs } = await served()
  const file = `${temporaryFolder('cli')}/slow.json`
  writeFileSync(file, JSON.stringify(candidateRequest({ LOAD_MS: '60000' })))
  let told = false
  const { code, stdout, stderr } = await perdure(url, ['validate', file], (text, pid) => {
    if (told || !text.includes('waits until the model is ready')) return
    told = true
    process.kill(pid, 'SIGINT')
  })
  expect(code, stdout + stderr).toBe(4)
  expect(stdout).toMatch(/^ABORTED/)
  expect((await jobs()).filter(({ alive }) => alive)).toEqual([])
})
