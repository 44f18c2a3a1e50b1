# Fetches what actions/checkout fetches, under the same refs.
set -euo pipefail
cd "$GITHUB_WORKSPACE"
mkdir -p "$FOLDER"
cd "$FOLDER"
if [ ! -d .git ]; then
  find . -mindepth 1 -delete
  git init -q -b main .
  git remote add origin "$GITHUB_SERVER_URL/$REPOSITORY"
fi
login=$(printf 'x-access-token:%s' "$TOKEN" | base64 -w0)
header="AUTHORIZATION: basic $login"
fetch() {
  git -c protocol.version=2 -c "http.$GITHUB_SERVER_URL/.extraheader=$header" \
    fetch -q --no-recurse-submodules "$@"
}

commit="" branch=""
if [ -z "$REF" ] && [ "$REPOSITORY" = "$GITHUB_REPOSITORY" ]; then
  commit=$GITHUB_SHA REF=$GITHUB_REF
fi
REF=${REF:-main}
case $REF in
  refs/heads/*) branch=${REF#refs/heads/} spec=refs/remotes/origin/$branch ;;
  refs/pull/*) spec=refs/remotes/${REF#refs/} ;;
  refs/tags/*) spec=$REF ;;
  *)
    if [[ $REF =~ ^[0-9a-f]{40}$ ]]; then
      commit=$REF spec=refs/remotes/origin/checkout
    elif fetch --depth=1 --no-tags origin "+refs/heads/$REF:refs/remotes/origin/$REF"; then
      branch=$REF spec=refs/remotes/origin/$REF REF=refs/heads/$REF
    else
      spec=refs/tags/$REF REF=refs/tags/$REF
    fi ;;
esac

if [ "$DEPTH" = 0 ]; then
  all=(--prune --tags)
  [ "$(git rev-parse --is-shallow-repository)" = true ] && all+=(--unshallow)
  fetch "${all[@]}" origin "+refs/heads/*:refs/remotes/origin/*"
  fetch --no-tags origin "+${commit:-$REF}:$spec"
else
  which=--no-tags
  [ "$TAGS" = true ] && which=--tags
  fetch "$which" --prune "--depth=$DEPTH" origin "+${commit:-$REF}:$spec"
fi
if [ -n "$branch" ]; then
  git checkout -q --force -B "$branch" "$spec"
else
  git checkout -q --force --detach "$spec"
fi
if [ "$PERSIST" = true ]; then
  git config "http.$GITHUB_SERVER_URL/.extraheader" "$header"
fi
git log -1 --format='HEAD is now at %H %s'
