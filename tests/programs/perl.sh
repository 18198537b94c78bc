# perl: regular expressions, hashes, sorting, files, fork and pipes, signals, sockets, threads of control by select.
. "$TESTS/lib.sh"
need /usr/bin/perl

same_script "text and data" /usr/bin/perl <<'E'
use strict; use warnings;
my %n; my $x = 1;
for my $i (1 .. 100000) { $x = ($x * 69069 + 1) % 2147483647; $n{"k" . $x % 5000}++ }
print join(",", map { "$_=$n{$_}" } (sort { $n{$b} <=> $n{$a} || $a cmp $b } keys %n)[0 .. 9]), "\n";
my $text = join " ", map { "word$_" } 1 .. 20000;
my $c = () = $text =~ /\bword(\d)\1\d*\b/g; print "$c\n";
(my $t = $text) =~ s/(\d+)/$1 * 2/ge; print substr($t, 0, 60), "\n";
printf "%s %.6f %x\n", "pi", atan2(1, 1) * 4, 255;
local $_ = "a,b;c d"; print join("|", split /[,; ]/), "\n";
print "sorted: @{[sort { $a <=> $b } (10, 9, 100, 1)]}\n";
use utf8; binmode STDOUT, ":utf8"; print scalar reverse("äöü€"), "\n";
E
expect_native "sorted: 1 9 10 100"

same_script "files and directories" /usr/bin/perl <<'E'
use strict; use warnings; use File::Path qw(make_path remove_tree); use File::Find; use File::Temp; use File::Copy; use Fcntl qw(:flock :seek :mode);
make_path("a/b/c"); open my $f, "+>", "a/b/f" or die $!;
print $f "line $_\n" for 1 .. 1000; seek $f, 0, SEEK_SET; my @l = <$f>; print scalar(@l), " $l[-1]";
flock($f, LOCK_EX | LOCK_NB) or die; truncate $f, 100; print -s $f, "\n"; close $f;
copy("a/b/f", "a/g"); rename "a/g", "a/h"; symlink "h", "a/link"; print readlink("a/link"), "\n";
find({ wanted => sub { print "$File::Find::name\n" }, preprocess => sub { sort @_ } }, "a");
my @s = stat "a/h"; print S_ISREG($s[2]) ? "regular $s[7]\n" : "?\n"; utime 1, 2, "a/h"; print +(stat "a/h")[9], "\n";
my ($tf, $name) = File::Temp::tempfile(UNLINK => 1); print $tf "x"; close $tf; print -s $name, "\n";
opendir my $d, "a" or die; print join(" ", sort grep !/^\./, readdir $d), "\n";
remove_tree("a"); print -e "a" ? "there" : "gone", "\n"; open(my $no, "<", "nothere") or print 0 + $!, " $!\n";
E
expect_native "2 No such file or directory"

same_script "fork, pipes, signals, sockets" /usr/bin/perl <<'E'
use strict; use warnings; use POSIX qw(:sys_wait_h :signal_h); use Socket; use IO::Select; use IO::Handle; use IPC::Open3;
$| = 1; pipe my $r, my $w or die; my @kids;
for my $i (1 .. 5) { my $p = fork // die; if (!$p) { close $r; print $w "kid $i\n"; POSIX::_exit($i) } push @kids, $p }
close $w; print sort <$r>; for (@kids) { waitpid $_, 0; print $? >> 8, "\n" }
print `echo backtick`; system("exit 3"); print $? >> 8, "\n";
open my $p, "-|", "seq", "1", "5" or die; print <$p>; close $p;
open my $q, "|-", "tr a-z A-Z" or die; print $q "shout\n"; close $q;
my $got = 0; $SIG{USR1} = sub { $got++ }; kill USR1 => $$ for 1 .. 5; print "signals: ", $got > 0 ? "came" : "none", "\n";
eval { local $SIG{ALRM} = sub { die "alarm\n" }; alarm 1; select undef, undef, undef, 10; }; print "after $@";
socketpair my $a, my $b, AF_UNIX, SOCK_STREAM, PF_UNSPEC or die; $a->autoflush; $b->autoflush;
if (!fork) { close $a; my $l = <$b>; print $b "echo $l"; POSIX::_exit(0) } close $b; print $a "over a socket\n"; print scalar <$a>; wait;
my $pid = open3(my $in, my $out, undef, "cat"); print $in "open3\n"; close $in; print <$out>; waitpid $pid, 0;
$SIG{CHLD} = sub { 1 while waitpid(-1, WNOHANG) > 0 }; fork or POSIX::_exit(0) for 1 .. 10; 1 while wait != -1; print "reaped\n";
E
expect_native "echo over a socket"
finish
