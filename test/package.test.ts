/** The published package: packed, installed in an empty folder, type-checked and served from there. */

import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, inject, onTestFinished, test } from 'vitest'
import { post, serveModel } from './support/served-model.ts'

const root = join(import.meta.dirname, '..')
const run = promisify(execFile)
const env = { ...process.env, PATH: [dirname(process.execPath), process.env.PATH].join(delimiter) }

/** What a user writes in a folder of their own. */
const userModel = `
import { createModelServer, type ModelRequest, type RequestInfo, V2ModelServer, ValueError } from 'perdure/modelserver'

export class Doubler extends V2ModelServer {
  override load(): void {}
  override predict({ inputs = [] }: ModelRequest, ctx: RequestInfo): number[] {
    const id: unknown = ctx.id
    // @ts-expect-error inputs are unknown until they are checked
    const wrong: number[] = inputs
    return inputs.map((input) => {
      if (typeof input !== 'number') throw new ValueError('numbers only, ' + String(id) + ' has ' + typeof wrong[0])
      return input * 2
    })
  }
}

export function wrong() {
  // @ts-expect-error a model needs settings
  createModelServer().addModel('doubler')
}

export const server = createModelServer({ parameters: { unit: 'm' } })
  .addModel('doubler', { class: Doubler })
  .addModel('apart', { isolate: 'thread', module: import.meta.url, export: 'Doubler' })
`

const userClient = `
import { ApiError, makeClient } from 'perdure/client'

export async function ask(baseUrl: string): Promise<string> {
  const client = makeClient({ baseUrl })
  const { id, status } = await client.wait((await client.submit('iris', { inputs: [1] })).id)
  // @ts-expect-error an id is a text
  await client.cancel(5)
  return id + status
}

try {
  await ask('http://127.0.0.1:9')
} catch (error) {
  console.log(error instanceof ApiError ? 'refused' : 'away')
}
`

const userScript = `
import { V2ModelServer } from 'perdure/modelserver'

export class Halver extends V2ModelServer {
  load() {}
  predict({ inputs }) {
    return inputs.map((input) => input / 2)
  }
}
`

const userConfig = {
  compilerOptions: {
    target: 'es2024',
    module: 'nodenext',
    strict: true,
    noEmit: true,
    noImplicitOverride: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: true,
    types: ['node'],
    typeRoots: [join(root, 'node_modules/@types')],
  },
}

describe('the package', () => {
  /** Made here and removed at the end; the user's folder lies inside. */
  let scratch: string | undefined
  let folder = ''

  beforeAll(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'perdure-package-'))
    const packed = join(scratch, 'packed')
    folder = join(scratch, 'user')
    const user = folder
    await mkdir(packed)
    await mkdir(user)
    await npm(root, 'pack', '--pack-destination', packed)
    const [tarball = ''] = await readdir(packed)
    await writeFile(join(user, 'package.json'), JSON.stringify({ private: true, type: 'module' }))
    await npm(
      user,
      'install',
      join(packed, tarball),
      '--ignore-scripts',
      '--prefer-offline',
      '--no-audit',
      '--no-fund',
    )
    await writeFile(join(user, 'tsconfig.json'), JSON.stringify(userConfig))
    await writeFile(join(user, 'model.ts'), userModel)
    await writeFile(join(user, 'client.ts'), userClient)
    await writeFile(join(user, 'model.js'), userScript)
  }, 600_000)

  afterAll(async () => {
    if (scratch) await rm(scratch, { recursive: true, force: true })
  })

  test('holds what its doors promise and no sources', async () => {
    const installed = join(folder, 'node_modules/perdure')
    const { exports, bin } = JSON.parse(await readFile(join(installed, 'package.json'), 'utf8'))
    const doors = [
      ...Object.values<Record<string, string>>(exports).flatMap(Object.values),
      ...Object.values(bin),
    ]
    expect(doors.filter((path) => !existsSync(join(installed, path)))).toEqual([])
    const files = await readdir(installed, { recursive: true })
    expect(files.filter((file) => /(?<!\.d)\.ts$|^(test|bench|scripts)\//.test(file))).toEqual([])
  })

  test("type-checks a user's model, and refuses a wrong one", async () => {
    await run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', folder], { env }).catch(
      (error: { stdout: string }) => expect.fail(error.stdout),
    )
  })

  test("serves a user's model in TypeScript, also in a thread of its own", async () => {
    const model = await serve('model.ts')
    for (const name of ['doubler', 'apart']) {
      expect(await post(`${model.origin}/v2/models/${name}/infer`, { inputs: [1, 2.5] })).toEqual({
        status: 200,
        body: { id: 'evt-1', model_name: name, outputs: [2, 5] },
      })
    }
    expect(await model.stop(), model.errors()).toBe(0)
  })

  test('has a client that runs without the rest', async () => {
    const { stdout } = await run(process.execPath, [join(folder, 'client.ts')], { env })
    expect(stdout).toBe('away\n')
  })

  test("serves a user's model in JavaScript", async () => {
    const model = await serve('model.js')
    const answer = await post(`${model.origin}/v2/models/halver/infer`, { inputs: [5] })
    expect(answer.body).toEqual({ id: 'evt-1', model_name: 'halver', outputs: [2.5] })
    expect(await model.stop(), model.errors()).toBe(0)
  })

  test('serves the sample model', async () => {
    const model = await serve('node_modules/perdure/dist/examples/iris/model.js')
    const answer = await post(`${model.origin}/v2/models/iris/infer`, { inputs: [[5.1, 3.5, 1.4, 0.2]] })
    expect(JSON.stringify(answer.body)).toContain('setosa')
    expect(await model.stop(), model.errors()).toBe(0)
  })

  test('starts everything with one command, as a clone does, and ends with it', async () => {
    const free = ['PERDURE_TEMPORAL_PORT', 'PERDURE_TEMPORAL_UI_PORT', 'PERDURE_MODEL_PORT']
    const settings = {
      ...Object.fromEntries(free.map((key) => [key, '0'])),
      HTTP_SERVER_ADDRESS: '127.0.0.1:0',
      TEMPORAL_CLI_PATH: inject('temporalCli'),
      SHUTDOWN_DELAY: '0s',
    }
    const child = spawn(join(folder, 'node_modules/.bin/perdure'), ['start'], {
      cwd: folder,
      env: { ...env, ...settings, TEMPORAL_ADDRESS: '' },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const ended = once(child, 'exit')
    onTestFinished(async () => {
      child.kill('SIGKILL')
      await ended
    })
    let errors = ''
    child.stderr.on('data', (chunk: Buffer) => {
      errors += chunk.toString('utf8')
    })
    const lines: string[] = []
    for await (const line of createInterface({ input: child.stdout })) {
      lines.push(line)
      if (line.startsWith('curl')) break
    }
    expect(
      lines.map((line) => line.split('  ')[0]?.slice(0, 4)),
      errors,
    ).toEqual([...['API', 'Docs', 'Temp', 'Mode', 'curl']])
    const [, origin = ''] = /^API {2}(\S+)$/.exec(lines[0] ?? '') ?? []
    const body = { model_name: 'iris', inputs: { inputs: [[5.1, 3.5, 1.4, 0.2]] } }
    expect(JSON.stringify((await post(`${origin}/v1/predict`, body)).body)).toContain('setosa')
    child.kill('SIGTERM')
    expect(await ended, errors).toEqual([0, null])
  }, 180_000)

  /** As `npx perdure serve` does, without npx as a process between. */
  function serve(file: string) {
    return serveModel(join(folder, 'node_modules/.bin/perdure'), ['serve', file], { cwd: folder, env })
  }
})

async function npm(cwd: string, ...args: string[]): Promise<void> {
  await run('npm', args, { cwd, env, maxBuffer: 64 * 1024 * 1024 }).catch(
    (error: { stdout: string; stderr: string }) => {
      throw new Error(`npm ${args[0]} failed:\n${error.stdout}\n${error.stderr}`)
    },
  )
}
