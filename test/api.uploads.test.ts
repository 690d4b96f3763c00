/**
 * Uploads while a key is set (prediction-agent specification, 4.5, 8 number 35): a model is given an address that is its
 * prediction's own. Proven with a platform that uploads as the model-side library does, without any key.
 */
import { expect, test, vi } from 'vitest'
import { makeDeployment } from './support/deployment.ts'

const soon = { timeout: 60_000, interval: 50 }

test('each prediction, called directly or flown, uploads under a token of its own', async () => {
  const given: string[] = []
  const deployment = await makeDeployment({
    env: { ML_PLATFORM: 'k8s', SECRET_APIKEY: 'k3y', K8SPLUGIN_REQUEST_TIMEOUT: '60' },
    platform(call, response) {
      const { inputs } = JSON.parse(call.body) as { inputs: { upload_webhook: string } }
      given.push(inputs.upload_webhook)
      void fetch(inputs.upload_webhook, { method: 'POST', body: form() }).then(async (answer) => {
        response.writeHead(200, { 'content-type': 'application/json' })
        response.end(JSON.stringify({ output: [((await answer.json()) as { url: string }).url] }))
      })
    },
    platformKey: 'K8SPLUGIN_ADDRESS',
  })
  const { baseUrl } = deployment
  await deployment.startWorker()
  await deployment.startApi()
  const post = (path: string, body: string | FormData) => fetch(`${baseUrl}${path}`, { method: 'POST', body })

  const forged = { a: 1, upload_webhook: 'http://elsewhere.test/upload' }
  const sync = await post('/v1/predict', JSON.stringify({ model_name: 'm', inputs: forged }))
  expect(sync.status).toBe(200)
  const ids = [((await sync.json()) as { id: string }).id]
  for (let n = 0; n < 2; n++) {
    const created = await post('/v1/predictions', JSON.stringify({ version: 'm', input: {} }))
    expect(created.status).toBe(201)
    ids.push(((await created.json()) as { id: string }).id)
  }
  await vi.waitFor(async () => {
    for (const id of ids) expect(await deployment.task(id)).toMatchObject({ status: 'succeeded' })
  }, soon)

  const rows = await deployment.query<{ prediction_id: string }>('select prediction_id from files')
  expect(rows.map((row) => row.prediction_id).toSorted()).toEqual(ids.toSorted())
  expect(new Set(given).size).toBe(3)
  const { outputs } = await deployment.task(ids[0]!)
  const [file] = (outputs as { output: string[] }).output
  expect(await (await fetch(file!)).text()).toBe('the whole content')

  const [, token = ''] = /\/u\/([^/]+)\/upload$/.exec(given[0]!) ?? []
  const [claims = '', signature = ''] = token.split('.')
  const other = Buffer.from(Buffer.from(claims, 'base64url').toString().replace(ids[0]!, ids[1]!))
  for (const path of [
    '/upload',
    `/u/${other.toString('base64url')}.${signature}/upload`,
    `/u/${claims}/upload`,
    `/u/${token}x/upload_batch`,
  ]) {
    expect((await post(path, form())).status, path).toBe(401)
  }
  const shown = await (await fetch(`${baseUrl}/v1/predictions/${ids[0]}`)).text()
  expect(shown).not.toContain('upload')
})

function form(): FormData {
  const data = new FormData()
  data.set('file', new Blob(['the whole content']), 'out.txt')
  return data
}
