# git: init, add, commit, branch, merge, rebase, clone, fetch, push, gc and fsck of local repositories.
. "$TESTS/lib.sh"
need git

cat >"$T/git" <<'E'
set -eu
export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=C GIT_COMMITTER_EMAIL=c@example.org
export GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000' GIT_CONFIG_NOSYSTEM=1 GIT_PAGER=cat
git init -q -b main repo
cd repo
for i in $(seq 300); do mkdir -p d$((i % 10)); seq $i $((i + 50)) >d$((i % 10))/f$i; done
git add -A && git commit -qm first && git rev-parse HEAD
git status --short | wc -l
git checkout -qb topic && echo topic >>d1/f1 && git rm -q d2/f2 && git mv d3/f3 d3/moved && git commit -qam topic
git checkout -q main && echo main >>d4/f4 && git commit -qam main && git merge -q --no-edit topic && git rev-parse HEAD
git checkout -qb side HEAD~1 && echo side >>d1/f1 && git commit -qam side
git merge --no-edit main 2>&1 | sort; git diff --name-only --diff-filter=U; git merge --abort
git rebase main >/dev/null 2>&1 || git rebase --abort
git checkout -q main
git log --oneline --graph | cat
git diff --stat HEAD~1 | tail -n 1
git grep -c '^42$' | wc -l
git blame -s d1/f1 | tail -n 2
git stash list; echo change >>d5/f5; git stash -q; git stash pop -q; git diff | tail -n 1; git checkout -q .
cd ..
git clone -q repo copy 2>&1; git -C copy rev-parse HEAD; git -C copy log --oneline | wc -l
git clone -q --bare "file://$PWD/repo" bare.git 2>&1
cd copy; git remote add bare ../bare.git; echo pushed >new; git add new; git commit -qm pushed; git push -q bare main 2>&1; cd ..
git -C repo pull -q --no-rebase "file://$PWD/bare.git" main 2>&1; cat repo/new
git -C bare.git fsck --strict 2>&1; git -C repo gc -q --aggressive 2>&1; git -C repo count-objects -v | grep -E 'count|in-pack'; git -C repo fsck --full 2>&1
git -C repo archive HEAD | tar -t | wc -l
git -C repo bundle create -q ../b HEAD main && git -C repo bundle verify -q ../b 2>&1; git clone -q -b main b from-bundle 2>&1 && git -C from-bundle rev-parse HEAD
git -C repo worktree add -q ../wt topic 2>&1 && git -C wt rev-parse HEAD
E
same "a repository's life, in the layer" /bin/bash "$T/git"
expect_native pushed
BIND=1 same "init, commit and fsck on a bind" /bin/bash -c 'set -e; git init -q -b main r; cd r; git config user.name n; git config user.email e; seq 1000 >f; git add f; GIT_AUTHOR_DATE="1700000000 +0000" GIT_COMMITTER_DATE="1700000000 +0000" git commit -qm x; git fsck; git rev-parse HEAD; git status -s; rm -rf .git'
finish
